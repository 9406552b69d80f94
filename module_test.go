package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"groundcrew/gitlab/sim"
)

const vpcAt = "platform/terraform-aws-vpc"

// vpc is a module that any tool can apply without a provider.
func vpc(more map[string]string) map[string]string {
	files := map[string]string{
		"main.tf":      "variable \"cidr\" {\n  type = string\n  validation {\n    condition     = can(cidrhost(var.cidr, 0))\n    error_message = \"cidr is no network\"\n  }\n}\nvariable \"tags\" {\n  type    = map(string)\n  default = {}\n}\nresource \"terraform_data\" \"this\" {\n  input = var.cidr\n}\n",
		"outputs.tf":   "output \"id\" {\n  value = terraform_data.this.id\n}\noutput \"cidr\" {\n  value = terraform_data.this.output\n}\n",
		"README.md":    "# VPC\n\nMakes a network.\n",
		moduleFileName: "tests:\n  - name: Small network\n    id: small\n    inputs: {cidr: 10.0.0.0/8}\n  - name: Nonsense is refused\n    id: nonsense\n    negative: true\n    depends_on: [small]\n    inputs: {cidr: nonsense}\n",
	}
	maps.Copy(files, more)
	return files
}

const moduleFileName = ".groundcrew.yml"

// modules makes the project of a module in GitLab.
func (r *rig) modules(path string, files map[string]string) sim.Project {
	r.t.Helper()
	p, err := r.sim.AddProject(path, "main", files)
	if err != nil {
		r.t.Fatal(err)
	}
	r.sim.AddMember(p.ID, r.author.ID, sim.Maintainer)
	r.sim.AddMember(p.ID, r.bot.ID, sim.Maintainer)
	return p
}

func (r *rig) module(more map[string]any) map[string]any {
	r.t.Helper()
	body := map[string]any{"project": vpcAt, "tool": tool(r.t), "install_hook": true}
	maps.Copy(body, more)
	return r.must("POST", "/modules", body, 201)
}

// version waits until a version is in a state.
func (r *rig) version(name, number, state string) map[string]any {
	r.t.Helper()
	var last map[string]any
	until(r.t, fmt.Sprintf("version %s of %s %s", number, name, state), func() bool {
		for _, v := range r.items("/modules/" + name + "/versions") {
			if v["version"] == number {
				last = v
				if v["state"] != "pending" && v["state"] != state {
					r.t.Fatalf("version %s is %v: %v\n%s", number, v["state"], v["reason"], r.testLogs(name, number))
				}
				return v["state"] == state
			}
		}
		return false
	})
	return last
}

func (r *rig) testLogs(name, number string) string {
	var b strings.Builder
	for _, c := range r.must("GET", "/modules/"+name+"/versions/"+number+"/tests", nil, 200)["tests"].([]any) {
		if id, ok := c.(map[string]any)["run"].(string); ok {
			fmt.Fprintf(&b, "=== %v\n%s", c, r.logs(id))
		}
	}
	return b.String()
}

func (r *rig) statusOf(project int64, sha, name, state string) sim.Status {
	r.t.Helper()
	var found sim.Status
	until(r.t, "status "+name+" "+state, func() bool {
		for _, s := range r.sim.Statuses(project, sha) {
			if s.Name == name && !s.Retried {
				found = s
			}
		}
		return found.State == state
	})
	return found
}

// A tag makes a version, which is usable when its tests have passed; the same number never again.
func TestATagBecomesAVersion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.modules(vpcAt, vpc(nil))
	r.serve().link()
	m := r.module(map[string]any{"case_statuses": true})
	if m["name"] != "vpc" || m["provider"] != "aws" || m["namespace"] != "platform" || m["slug"] != "vpc" {
		t.Fatalf("inferred: %v", m)
	}
	sha, err := r.sim.Push(p.ID, "main", "Release", vpc(map[string]string{"CHANGELOG.md": "1"}))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.sim.CreateTag(p.ID, "v1.0.0", sha, ""); err != nil {
		t.Fatal(err)
	}
	v := r.version("vpc", "1.0.0", "active")
	if v["commit"] != sha || v["digest"] == "" || v["tag"] != "v1.0.0" {
		t.Errorf("version %v", v)
	}
	until(t, "the status of the version", func() bool {
		return r.statusOf(p.ID, sha, "groundcrew/vpc", "success").Description == "Version 1.0.0: usable. 2 tests passed."
	})
	if s := r.statusOf(p.ID, sha, "groundcrew/vpc/nonsense", "success"); !strings.Contains(s.Description, "It failed, as it should") || !strings.Contains(s.TargetURL, "/runs/") {
		t.Errorf("status of the case %+v", s)
	}
	until(t, "the end of all tests", func() bool {
		checks := r.items("/modules/vpc/checks") // of the push and of the tag
		return len(checks) == 2 && !slices.ContainsFunc(checks, func(c map[string]any) bool { return c["ended_at"] == nil })
	})
	for _, run := range r.items("/runs?type=test") {
		if run["state"] != "finished" {
			t.Errorf("%v is %v: %v", run["id"], run["state"], run["reason"])
		}
		log := r.logs(run["id"].(string))
		if made := strings.Contains(log, "Apply complete! Resources: 1 added"); made != strings.Contains(log, "Destroy complete! Resources: 1 destroyed") {
			t.Errorf("made %v, and not destroyed:\n%s", made, log)
		}
	}
	// The same number from another commit is refused, and GitLab says why.
	other, err := r.sim.Push(p.ID, "main", "Another", map[string]string{"CHANGELOG.md": "2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.sim.CreateTag(p.ID, "1.0.0", other, ""); err != nil {
		t.Fatal(err)
	}
	s := r.statusOf(p.ID, other, "groundcrew/vpc", "failed")
	if !strings.Contains(s.Description, "Version 1.0.0 was published from commit "+sha[:8]+" and never changes") {
		t.Errorf("refusal %q", s.Description)
	}
	if again := r.version("vpc", "1.0.0", "active"); again["digest"] != v["digest"] || again["commit"] != sha {
		t.Errorf("the version changed: %v", again)
	}
	r.quiet()
	r.unrefused()
}

// A failing test leaves the version unusable; the merge request's comment says which, and what breaks.
func TestAFailingTestAndABreakingChange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.modules(vpcAt, vpc(map[string]string{moduleFileName: ""}))
	r.serve().link()
	r.module(nil)
	if err := r.sim.CreateTag(p.ID, "v1.0.0", "main", ""); err != nil {
		t.Fatal(err)
	}
	r.version("vpc", "1.0.0", "active")
	files := vpc(map[string]string{
		"outputs.tf":         "output \"id\" {\n  value = terraform_data.this.id\n}\n",
		"tests/a.tftest.hcl": "run \"keeps_the_network\" {\n  variables {\n    cidr = \"10.1.0.0/16\"\n  }\n  assert {\n    condition     = output.id == \"x\"\n    error_message = \"the id is not x\"\n  }\n}\n",
	})
	sha, err := r.sim.Push(p.ID, "topic", "Drop an output", files)
	if err != nil {
		t.Fatal(err)
	}
	iid, err := r.sim.OpenMergeRequest(p.ID, "topic", "main", "Drop an output", r.author.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.statusOf(p.ID, sha, "groundcrew/vpc", "failed")
	r.quiet()
	var body string
	until(t, "the comment", func() bool {
		for _, n := range r.sim.Notes(p.ID, iid) {
			if !n.System && n.Author == r.bot.Username {
				body = n.Body
			}
		}
		return strings.Contains(body, "failed")
	})
	for _, want := range []string{"1 of 3 tests failed", "1 breaking change since 1.0.0", "output `cidr`", "**breaking**", "tests/a.tftest.hcl", "keeps", "the id is not x", "✓ passed"} {
		if !strings.Contains(body, want) {
			t.Errorf("the comment does not say %q:\n%s", want, body)
		}
	}
	if err := r.sim.CreateTag(p.ID, "v1.1.0", sha, ""); err != nil {
		t.Fatal(err)
	}
	v := r.version("vpc", "1.1.0", "failed")
	if !strings.Contains(v["reason"].(string), "Test files") || !strings.Contains(v["reason"].(string), "the id is not x") {
		t.Errorf("reason %v", v["reason"])
	}
	r.quiet()
	r.unrefused()
}

// selfSigned makes a private CA and a certificate for 127.0.0.1 signed by it.
func selfSigned(t *testing.T) (caFile, certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sign := func(tmpl, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	newKey := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	caKey, key := newKey(), newKey()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Private CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "groundcrew"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	caFile = write("ca.pem", "CERTIFICATE", sign(ca, ca, caKey, caKey))
	certFile = write("cert.pem", "CERTIFICATE", sign(leaf, ca, key, caKey))
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return caFile, certFile, write("key.pem", "EC PRIVATE KEY", der)
}

// trusting is a client that trusts a private CA.
func trusting(t *testing.T, ca string) *http.Client {
	t.Helper()
	raw, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(raw)
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
}

// The real tool fetches a module by constraint over TLS with a private CA: in a run by itself, outside with a key, and not
// without one.
func TestInitFetchesModulesFromTheRegistry(t *testing.T) {
	t.Parallel()
	ca, cert, key := selfSigned(t)
	client := trusting(t, ca)
	r := newRigOn(t, httptest.NewServer, func(o *sim.Options) { o.HookClient = client })
	r.client = client
	p := r.modules(vpcAt, vpc(map[string]string{moduleFileName: ""}))
	r.set = func(c *config) { c.tlsCert, c.tlsKey, c.runCA = cert, key, ca }
	r.serve().link()
	m := r.module(nil)
	for _, tag := range []string{"v1.0.0", "v1.1.0", "v2.0.0"} {
		if err := r.sim.CreateTag(p.ID, tag, "main", ""); err != nil {
			t.Fatal(err)
		}
		r.version("vpc", strings.TrimPrefix(tag, "v"), "active")
	}
	call := fmt.Sprintf("module \"net\" {\n  source  = %q\n  version = \"~> 1.0\"\n  cidr    = \"10.0.0.0/8\"\n}\n", m["source"])
	r.stack("network", "infra", nil)
	r.push("main", "Use the module", map[string]string{"infra/main.tf": call})
	id := r.run("tracked", "unconfirmed", "failed")["id"].(string)
	log := r.logs(id)
	if r.state(id) != "unconfirmed" || !strings.Contains(log, "1.1.0 for net") {
		t.Fatalf("the run is %s:\n%s", r.state(id), log)
	}
	if strings.Contains(log, "gcr_") {
		t.Error("the run's token is in its log")
	}
	until(t, "the use", func() bool {
		uses := r.items("/modules/vpc/users")
		return len(uses) == 1 && uses[0]["stack"] == "network" && uses[0]["version"] == "1.1.0"
	})

	out := outside(t, call, ca, fmt.Sprintf("credentials %q {\n  token = %q\n}\n", hostOf(r.url), bootstrap))
	if !strings.Contains(out, "1.1.0 for net") || !strings.Contains(out, "has been successfully initialized") {
		t.Errorf("with a key:\n%s", out)
	}
	for name, config := range map[string]string{"without a key": "", "with a wrong key": fmt.Sprintf("credentials %q {\n  token = \"wrong\"\n}\n", hostOf(r.url))} {
		if out := outside(t, call, ca, config); !strings.Contains(out, "401") && !strings.Contains(out, "nauthorized") {
			t.Errorf("%s:\n%s", name, out)
		}
	}
}

// outside runs init as a person would, and returns what it says.
func outside(t *testing.T, code, ca, config string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.tf": code, "cli.tfrc": "disable_checkpoint = true\n" + config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary := map[string]string{"terraform": "terraform", "opentofu": "tofu"}[tool(t)]
	cmd := exec.Command(binary, "init", "-input=false", "-no-color")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+filepath.Join(dir, "cli.tfrc"), "SSL_CERT_FILE="+ca)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // what it says is what counts
	return out.String()
}

func hostOf(url string) string {
	_, host, _ := strings.Cut(url, "://")
	return host
}
