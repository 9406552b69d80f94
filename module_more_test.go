package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"groundcrew/gitlab/sim"
)

// Modules by git address come through this server, for the projects that may be read, and the token of GitLab is nowhere in the run.
func TestModulesInGit(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("modules in git need git")
	}
	r := newRig(t)
	r.modules("platform/shared", map[string]string{"net/main.tf": "output \"x\" {\n  value = \"from git\"\n}\n"})
	r.modules("secret/shared", map[string]string{"net/main.tf": ""})
	r.serve().link().stack("network", "infra", nil)
	r.must("PUT", "/settings/modules", map[string]any{"git_projects": []string{"platform/**"}, "public_modules": []string{}}, 200)
	code := func(project string) map[string]string {
		return map[string]string{"infra/main.tf": fmt.Sprintf("module \"net\" {\n  source = \"git::%s/scm/%s.git//net\"\n}\noutput \"x\" {\n  value = module.net.x\n}\ndata \"external\" \"none\" {\n  count = 0\n  program = []\n}\n", r.gitlab.URL, project)}
	}
	allowed := code("platform/shared")
	allowed["infra/main.tf"], _, _ = strings.Cut(allowed["infra/main.tf"], "data")
	allowed["infra/env.tf"] = "resource \"terraform_data\" \"env\" {\n  provisioner \"local-exec\" {\n    command = \"env; cat /proc/self/environ; git config --list --show-origin; ls -la ~; git push 2>&1 | head -1; git ls-remote " + r.gitlab.URL + "/scm/secret/shared.git || true\"\n  }\n}\n"
	r.push("main", "Use git", allowed)
	id := r.run("tracked", "unconfirmed", "failed")["id"].(string)
	if r.state(id) != "unconfirmed" {
		t.Fatalf("%s:\n%s", r.state(id), r.logs(id))
	}
	r.must("POST", "/runs/"+id+"/confirm", nil, 200)
	until(t, "the apply", func() bool { s := r.state(id); return s == "finished" || s == "failed" })
	log := r.logs(id)
	if r.state(id) != "finished" || !strings.Contains(log, "from git") {
		t.Fatalf("the run is %s:\n%s", r.state(id), log)
	}
	if strings.Contains(log, r.token) || strings.Contains(log, "gcr_") {
		t.Error("a token is in the log")
	}
	if !strings.Contains(log, "403") || strings.Contains(log, "refs/heads/main\n") {
		t.Errorf("a project that is not allowed was read, or nobody said why:\n%s", log)
	}
	refused := code("secret/shared")
	refused["infra/main.tf"], _, _ = strings.Cut(refused["infra/main.tf"], "output")
	sha := r.push("other", "Use a secret", refused)
	r.status(sha, "groundcrew/network", "failed")
}

// What must not be published is not: the version fails and says why, and no archive is there (S27–S29).
func TestHostileModulesAreNeverPublished(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.modules(vpcAt, map[string]string{"main.tf": ""})
	r.serve().link()
	r.module(nil)
	for i, tc := range []struct{ file, say string }{
		{"terraform.tfstate", "is a state"},
		{"sub/.env", "somebody's environment"},
		{"keys/id_rsa", "credentials"},
		{".terraform/modules/modules.json", "belongs to one machine"},
	} {
		sha, err := r.sim.Push(p.ID, "main", "Bad", map[string]string{tc.file: "{}"})
		if err != nil {
			t.Fatal(err)
		}
		number := fmt.Sprintf("1.%d.0", i)
		if err := r.sim.CreateTag(p.ID, "v"+number, sha, ""); err != nil {
			t.Fatal(err)
		}
		v := r.version("vpc", number, "failed")
		if !strings.Contains(v["reason"].(string), tc.say) || v["digest"] != "" {
			t.Errorf("%s: %v", tc.file, v)
		}
		until(t, "the reason in GitLab", func() bool {
			return strings.Contains(r.statusOf(p.ID, sha, "groundcrew/vpc", "failed").Description, tc.say)
		})
		if _, err := r.sim.Push(p.ID, "main", "Undo", nil, sim.Deleting(tc.file)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tag := range []string{"v1.2", "v01.0.0", "v1.0.0+x"} {
		if err := r.sim.CreateTag(p.ID, tag, "main", ""); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the refusals", func() bool {
		n := 0
		for _, c := range r.items("/modules/vpc/checks") {
			if c["state"] == "refused" && strings.Contains(c["reason"].(string), "is no version of vpc") {
				n++
			}
		}
		return n == 3
	})
}

// A version named in the file: the number is taken from the commit, and an old one is refused.
func TestVersionsFromTheFile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.modules(vpcAt, vpc(map[string]string{moduleFileName: "module_version: 0.1.0\n"}))
	r.serve().link()
	r.module(map[string]any{"release": "file"})
	push := func(number, file string) string {
		sha, err := r.sim.Push(p.ID, "main", "Release "+number, map[string]string{moduleFileName: "module_version: " + number + "\n", file: number})
		if err != nil {
			t.Fatal(err)
		}
		return sha
	}
	sha := push("0.2.0", "a")
	if v := r.version("vpc", "0.2.0", "active"); v["commit"] != sha {
		t.Errorf("%v", v)
	}
	s := r.statusOf(p.ID, push("0.2.0", "b"), "groundcrew/vpc", "failed")
	if !strings.Contains(s.Description, "never changes") {
		t.Errorf("%q", s.Description)
	}
	if s := r.statusOf(p.ID, push("0.3", "c"), "groundcrew/vpc", "failed"); !strings.Contains(s.Description, "“0.3” is no version number") {
		t.Errorf("%q", s.Description)
	}
	r.unrefused()
}

// A test that is stopped, or whose server and processes are killed in the middle of its apply, destroys what it made.
func TestTestsCleanUpAfterStopAndKill(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	slow := "resource \"terraform_data\" \"first\" {\n  input = 1\n}\nresource \"terraform_data\" \"slow\" {\n  depends_on = [terraform_data.first]\n  provisioner \"local-exec\" {\n    command = \"echo begun; sleep 30\"\n  }\n}\n"
	p := r.modules(vpcAt, map[string]string{"main.tf": slow, moduleFileName: "tests:\n  - name: Slow\n"})
	r.spawn()
	r.link().module(nil)
	begun := func(how string) string {
		if _, err := r.sim.Push(p.ID, "topic-"+how, how, map[string]string{"x": how}); err != nil {
			t.Fatal(err)
		}
		var id string
		until(t, "the apply of the test", func() bool {
			list := r.items("/runs?type=test&limit=1")
			if len(list) == 0 || list[0]["branch"] != "topic-"+how {
				return false
			}
			id = list[0]["id"].(string)
			return strings.Contains(r.logs(id), "begun")
		})
		return id
	}
	stopped := begun("stop")
	r.must("POST", "/runs/"+stopped+"/stop", map[string]any{"note": "enough"}, 200)
	until(t, "the end of the stopped test", func() bool { return r.state(stopped) == "stopped" })
	killed := begun("kill")
	r.kill()
	r.reap()
	r.spawn()
	until(t, "the end of the killed test", func() bool { return r.state(killed) == "failed" })
	for _, id := range []string{stopped, killed} {
		if log := r.logs(id); !strings.Contains(log, "Destroy complete!") {
			t.Errorf("what run %s made was not destroyed:\n%s", id, log)
		}
	}
	if run := r.must("GET", "/runs/"+killed, nil, 200); !strings.Contains(run["reason"].(string), "killed or the machine restarted") {
		t.Errorf("reason %v", run["reason"])
	}
}

// Addresses of a public registry lead here inside runs when a setting says so, with no change to the code.
func TestPublicAddressesLeadHere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.modules(vpcAt, vpc(map[string]string{moduleFileName: ""}))
	r.serve().link()
	r.module(map[string]any{"namespace": "terraform-aws-modules"})
	if err := r.sim.CreateTag(p.ID, "v5.8.1", "main", ""); err != nil {
		t.Fatal(err)
	}
	r.version("vpc", "5.8.1", "active")
	r.must("PUT", "/settings/modules", map[string]any{"public_modules": []string{"registry.terraform.io", "registry.opentofu.org"}, "git_projects": []string{}}, 200)
	r.stack("network", "infra", nil)
	r.push("main", "Use it", map[string]string{"infra/main.tf": "module \"net\" {\n  source  = \"terraform-aws-modules/vpc/aws\"\n  version = \"~> 5.0\"\n  cidr    = \"10.0.0.0/8\"\n}\n"})
	id := r.run("tracked", "unconfirmed", "failed")["id"].(string)
	if log := r.logs(id); r.state(id) != "unconfirmed" || !strings.Contains(log, "5.8.1 for net") {
		t.Fatalf("the run is %s:\n%s", r.state(id), log)
	}
	until(t, "the use", func() bool { return len(r.items("/modules/vpc/users")) == 1 })
}
