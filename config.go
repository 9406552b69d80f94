package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"

	"groundcrew/runs"
	"groundcrew/web"
)

const usageText = `Groundcrew runs Terraform and OpenTofu for teams with their own GitLab. Without a command it is the server.

Each flag of the server is also a variable: --data-dir is GROUNDCREW_DATA_DIR. A flag wins over its variable.
GROUNDCREW_ADMIN_PASSWORD sets the password of the user admin without a browser; GROUNDCREW_BOOTSTRAP_TOKEN
(32 characters or more) is an admin API key for set-up by scripts; GROUNDCREW_METRICS_TOKEN (32 characters or more)
is a key that opens /metrics and nothing else. They may be read from files: GROUNDCREW_ADMIN_PASSWORD_FILE,
GROUNDCREW_BOOTSTRAP_TOKEN_FILE, GROUNDCREW_METRICS_TOKEN_FILE.

Commands over the API find their server by GROUNDCREW_URL, GROUNDCREW_TOKEN (or GROUNDCREW_TOKEN_FILE) and, for a
private CA, GROUNDCREW_CA_FILE; or by what "groundcrew login" keeps. RUN is a run's id, or a stack for its newest run.

Exit codes: 0 well · 1 failed · 2 wrong flags or settings · 3 not found · 4 not allowed · 5 not possible now ·
6 no answer · of a run that was followed: 10 waits for a yes · 11 failed · 12 discarded, canceled, stopped or skipped.

`

// A usageError is a wrong flag or setting, or a request for help (code 0).
type usageError struct {
	code int
	msg  string
}

func (e usageError) Error() string { return e.msg }

// A config is everything a start is told. It is read once and passed by value.
type config struct {
	dataDir, listen, externalURL, masterKeyFile string
	tlsCert, tlsKey, runCA                      string
	workers                                     int
	limits                                      limits
	initCache                                   byteSize
	logFormat                                   string
	gitlabListen                                string // demo
	adminPassword, bootstrapToken               runs.Secret
	metricsToken                                runs.Secret
	metricsListen                               string
	metricsPerStack                             bool
	toolPath                                    string
	proxy                                       []string
	trusted                                     prefixes
	adminName                                   string // of groundcrew admin
	file                                        string // of groundcrew backup and restore
}

// defaultInitCache holds the largest providers in some versions.
const defaultInitCache byteSize = 5 << 30

// readConfig reads flags and their variables. Its errors are for people.
func readConfig(command string, args []string, getenv func(string) string, stderr io.Writer) (config, error) {
	var c config
	fs := flag.NewFlagSet("groundcrew "+command, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, usageText)
		fs.PrintDefaults()
	}
	fs.StringVar(&c.dataDir, "data-dir", "./data", "folder for everything the server keeps")
	fs.StringVar(&c.listen, "listen", "127.0.0.1:8080", "address to listen on; port 0 takes a free one and prints it")
	fs.StringVar(&c.externalURL, "external-url", "", "where people and GitLab find this server (default: http://<listen>)")
	fs.StringVar(&c.tlsCert, "tls-cert", "", "PEM file with the certificate chain; with --tls-key the server speaks TLS")
	fs.StringVar(&c.tlsKey, "tls-key", "", "PEM file with the certificate's key")
	fs.StringVar(&c.runCA, "run-ca", "", "PEM file with certificates that runs trust beside the system's, to fetch modules from here over TLS (--tls-cert is trusted anyway)")
	fs.StringVar(&c.masterKeyFile, "master-key-file", "", "file with the master key (default: master.key in the data folder, made at the first start)")
	fs.StringVar(&c.logFormat, "log-format", "text", "text or json")
	fs.IntVar(&c.workers, "workers", 2, "runs at work at once; can be changed in the settings later")
	fs.StringVar(&c.metricsListen, "metrics-listen", "", "address for /metrics alone, open to whoever reaches it, like 127.0.0.1:9464 (default: none; /metrics at --listen asks for a key)")
	fs.BoolVar(&c.metricsPerStack, "metrics-per-stack", false, "also count ended runs by stack; one series for each stack, type and state")
	c.initCache = defaultInitCache
	fs.Var(&c.initCache, "init-cache", "size of the providers kept for later runs, which then need no init of their own; 0 = every run does its own init")
	fs.Var(&c.trusted, "trusted-proxies", "networks of reverse proxies whose X-Forwarded-For is believed, like 10.0.0.0/8,127.0.0.1 (default: none)")
	c.limits.flags(fs)
	if command == "admin" {
		fs.StringVar(&c.adminName, "name", "admin", "account that becomes an admin with a password; made when there is none")
	}
	if command == "demo" {
		fs.StringVar(&c.gitlabListen, "gitlab-listen", "127.0.0.1:8929", "address of the simulated GitLab")
	}
	err := fs.Parse(args)
	if fileCommand(command) && err == nil && fs.NArg() > 0 {
		c.file = fs.Arg(0)
		err = fs.Parse(fs.Args()[1:]) // flags may come after the file
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return c, usageError{code: exitOK}
	case err != nil:
		return c, usageError{code: exitUsage} // flag has said why
	case fileCommand(command) && c.file == "":
		return c, usageError{exitUsage, fmt.Sprintf("%s which file? Like: groundcrew %s groundcrew-2026-01-31.backup --data-dir %s", command, command, c.dataDir)}
	case fs.NArg() > 0:
		return c, usageError{exitUsage, fmt.Sprintf("%q is more than was asked for; see groundcrew help", fs.Arg(0))}
	}
	if err := fromEnv(fs, getenv); err != nil {
		return c, err
	}
	if c.adminPassword, err = secret("GROUNDCREW_ADMIN_PASSWORD", getenv); err != nil {
		return c, err
	}
	if c.bootstrapToken, err = secret("GROUNDCREW_BOOTSTRAP_TOKEN", getenv); err != nil {
		return c, err
	}
	if c.metricsToken, err = secret("GROUNDCREW_METRICS_TOKEN", getenv); err != nil {
		return c, err
	}
	c.toolPath = getenv("PATH")
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		if v := getenv(name); v != "" {
			c.proxy = append(c.proxy, name+"="+v)
		}
	}
	return c, c.check()
}

// fileCommand reports whether a command is about one file, which it is told.
func fileCommand(command string) bool { return command == "backup" || command == "restore" }

// fromEnv sets each flag that was not given from its variable.
func fromEnv(fs *flag.FlagSet, getenv func(string) string) error {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var err error
	fs.VisitAll(func(f *flag.Flag) {
		name := "GROUNDCREW_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		v := getenv(name)
		if v == "" || given[f.Name] || err != nil {
			return
		}
		if e := fs.Set(f.Name, v); e != nil {
			err = usageError{exitUsage, fmt.Sprintf("%s=%s cannot be used: %v", name, strconv.Quote(v), e)}
		}
	})
	return err
}

// secret reads a secret from a variable or from the file another variable names, and takes it out of this
// process's environment, so that nothing started from here inherits it.
func secret(name string, getenv func(string) string) (runs.Secret, error) {
	v, file := getenv(name), getenv(name+"_FILE")
	if err := os.Unsetenv(name); err != nil {
		return "", err
	}
	if v != "" && file != "" {
		return "", usageError{exitUsage, name + " and " + name + "_FILE are both set; use one"}
	}
	if file == "" {
		return runs.Secret(v), nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", usageError{exitUsage, fmt.Sprintf("%s_FILE cannot be read: %v", name, err)}
	}
	return runs.Secret(strings.TrimRight(string(raw), "\r\n")), nil
}

func (c config) check() error {
	bad := func(format string, args ...any) error { return usageError{exitUsage, fmt.Sprintf(format, args...)} }
	switch {
	case c.logFormat != "text" && c.logFormat != "json":
		return bad("--log-format %q: use text or json", c.logFormat)
	case c.workers < 1 || c.workers > 256:
		return bad("--workers %d: use 1 to 256", c.workers)
	case (c.tlsCert == "") != (c.tlsKey == ""):
		return bad("--tls-cert and --tls-key go together")
	}
	if n := len(c.bootstrapToken.Reveal()); n > 0 && n < web.MinBootstrapToken {
		return bad("GROUNDCREW_BOOTSTRAP_TOKEN has %d characters; %d is the least, because it is an admin's key", n, web.MinBootstrapToken)
	}
	if n := len(c.metricsToken.Reveal()); n > 0 && n < web.MinBootstrapToken {
		return bad("GROUNDCREW_METRICS_TOKEN has %d characters; %d is the least", n, web.MinBootstrapToken)
	}
	if c.externalURL != "" {
		u, err := url.Parse(c.externalURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
			return bad("--external-url %q: use http://host or https://host, without a path", c.externalURL)
		}
	}
	return c.limits.check()
}
