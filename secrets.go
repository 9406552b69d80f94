package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Variables that hold secrets. What a process was started with stays in /proc/<pid>/environ for as long as it
// lives, whatever it unsets.
var secretVariables = []string{"GROUNDCREW_ADMIN_PASSWORD", "GROUNDCREW_BOOTSTRAP_TOKEN"}

// secretsFD is the variable that says where the secrets are once they are out of the environment.
const secretsFD = "GROUNDCREW_SECRETS_FD"

// secretEnv returns getenv for a process whose environment holds no secret. Where it does hold some, the
// process becomes itself once more without them, which get there through a pipe.
func secretEnv() (func(string) string, error) {
	secrets := map[string]string{}
	if fd, err := strconv.Atoi(os.Getenv(secretsFD)); err == nil && fd > 2 {
		f := os.NewFile(uintptr(fd), secretsFD)
		err := json.NewDecoder(f).Decode(&secrets)
		if err := errors.Join(err, f.Close(), os.Unsetenv(secretsFD)); err != nil {
			return nil, fmt.Errorf("the secrets of the environment did not arrive: %w", err)
		}
	} else if err := handOverSecrets(); err != nil {
		return nil, fmt.Errorf("the secrets can't be taken out of the environment: %w", err)
	}
	return func(name string) string {
		if v, ok := secrets[name]; ok {
			return v
		}
		return os.Getenv(name)
	}, nil
}

// pipeHolds is what fits into every pipe without a reader, in bytes.
const pipeHolds = 4096

// handOverSecrets returns only if there is nothing to hand over, or on an error.
func handOverSecrets() error {
	secrets := map[string]string{}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, value, _ := strings.Cut(kv, "=")
		if slices.Contains(secretVariables, name) && value != "" {
			secrets[name] = value
			return true
		}
		return name == secretsFD
	})
	if len(secrets) == 0 {
		return nil
	}
	raw, err := json.Marshal(secrets)
	if err != nil {
		return err
	}
	if len(raw) > pipeHolds {
		return fmt.Errorf("%s are longer than %d bytes", strings.Join(secretVariables, " and "), pipeHolds)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	if _, err := w.Write(raw); err != nil {
		return err
	}
	fd, err := syscall.Dup(int(r.Fd())) // a copy stays open on exec
	if err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(env, secretsFD+"="+strconv.Itoa(fd)))
}
