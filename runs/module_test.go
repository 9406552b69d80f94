package runs

import (
	"slices"
	"strings"
	"testing"
)

func TestSemVer(t *testing.T) {
	order := []string{"0.0.1", "0.1.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"}
	for i, a := range order {
		x, err := ParseSemVer(a)
		if err != nil || x.String() != a {
			t.Fatalf("%s: %v, %v", a, x, err)
		}
		for j, b := range order {
			y, _ := ParseSemVer(b)
			if got := x.Compare(y); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s against %s: %d", a, b, got)
			}
		}
	}
	for _, bad := range []string{"", "1", "1.2", "01.2.3", "1.2.3.4", "v1.2.3", "1.2.3+build", "1.2.3-", "1.2.3-01", "1.2.3-a..b", " 1.2.3", "1.2.3\n", "1.2.x", "99999999999999999999.0.0", "../1.2.3", "1.2.3-" + strings.Repeat("a", 100), "%2e%2e", "１.2.3"} {
		if v, err := ParseSemVer(bad); err == nil {
			t.Errorf("%q was read as %v", bad, v)
		}
	}
}

func TestTagNumber(t *testing.T) {
	for _, tc := range []struct {
		prefix, tag, number string
		ok, bad             bool
	}{
		{"", "v1.2.3", "1.2.3", true, false},
		{"", "1.2.3", "1.2.3", true, false},
		{"", "nightly", "", false, false},
		{"", "1.2", "", true, true},
		{"", "v1.2.3+b", "", true, true},
		{"vpc/", "vpc/v1.2.3", "1.2.3", true, false},
		{"vpc-", "vpc-1.2.3", "1.2.3", true, false},
		{"vpc/", "v1.2.3", "", false, false},
		{"vpc/", "vpc/next", "", true, true},
	} {
		m := Module{Slug: "vpc", Release: ReleaseByTag, TagPrefix: tc.prefix}
		number, ok, err := m.TagNumber(tc.tag)
		if ok != tc.ok || (err != nil) != tc.bad || !tc.bad && number != tc.number {
			t.Errorf("%q %q: %q %v %v", tc.prefix, tc.tag, number, ok, err)
		}
	}
	if _, ok, _ := (Module{Release: ReleaseByFile}).TagNumber("v1.2.3"); ok {
		t.Error("a module that releases from its file took a tag")
	}
}

func TestInferModule(t *testing.T) {
	for path, want := range map[string][3]string{
		"platform/terraform-aws-vpc":       {"platform", "vpc", "aws"},
		"Infra/sub/terraform-azurerm-k8s1": {"infra", "k8s1", "azurerm"},
		"a/terraform-aws-eks-node_group":   {"a", "eks-node_group", "aws"},
		"a/terraform-aws":                  {"a", "", ""},
		"a/modules":                        {"a", "", ""},
	} {
		ns, name, provider := InferModule(path)
		if [3]string{ns, name, provider} != want {
			t.Errorf("%s: %q %q %q", path, ns, name, provider)
		}
	}
}

// Names of modules go into addresses, keys and paths (S29).
func TestModuleNamesAreSafe(t *testing.T) {
	good := Module{Name: "vpc", Provider: "aws", Namespace: "platform", Project: 1, Branch: "main", Release: ReleaseByTag, Tool: Terraform}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "..", "a/b", "%2e%2e", strings.Repeat("x", 300), "vpc ", "🚀", "a\x00b", "new", "-a", "a.b"} {
		for field, set := range map[string]func(*Module){
			"name": func(m *Module) { m.Name = bad }, "namespace": func(m *Module) { m.Namespace = bad }, "provider": func(m *Module) { m.Provider = bad },
		} {
			if bad == "new" && field != "name" {
				continue
			}
			m := good
			set(&m)
			if err := m.Validate(); err == nil {
				t.Errorf("%s %q was taken", field, bad)
			}
		}
	}
	for _, bad := range []string{"../", "a b", "/x", "~1", "a:b", strings.Repeat("x", 300)} {
		m := good
		m.TagPrefix = bad
		if err := m.Validate(); err == nil {
			t.Errorf("tag prefix %q was taken", bad)
		}
	}
}

func TestAGoodNumberNeverAgain(t *testing.T) {
	a, b := Commit{SHA: strings.Repeat("a", 40)}, Commit{SHA: strings.Repeat("b", 40)}
	for _, tc := range []struct {
		old   *ModuleVersion
		c     Commit
		again bool
		say   string
	}{
		{nil, a, false, ""},
		{&ModuleVersion{State: VersionFailed, Commit: a}, b, false, ""},
		{&ModuleVersion{State: VersionActive, Commit: a}, a, true, ""},
		{&ModuleVersion{State: VersionActive, Commit: a}, b, false, "never changes"},
		{&ModuleVersion{State: VersionPending, Commit: a}, b, false, "being tested already"},
	} {
		again, err := MayPublish(tc.old, "1.0.0", tc.c)
		if again != tc.again || (err != nil) != (tc.say != "") || err != nil && !strings.Contains(err.Error(), tc.say) {
			t.Errorf("%+v: %v %v", tc.old, again, err)
		}
	}
}

func TestLatest(t *testing.T) {
	list := []ModuleVersion{{Number: "1.9.0", State: VersionActive}, {Number: "1.10.0", State: VersionActive, YankedAt: noon}, {Number: "2.0.0-rc.1", State: VersionActive}, {Number: "3.0.0", State: VersionFailed}}
	SortVersions(list)
	if v, ok := Latest(list); !ok || v.Number != "1.9.0" {
		t.Errorf("%+v %v", v, ok)
	}
	if v, ok := Latest(list[1:2]); !ok || v.Number != "2.0.0-rc.1" {
		t.Errorf("%+v %v", v, ok)
	}
}

func TestInterfaceChanges(t *testing.T) {
	old := Interface{
		Inputs:    []Input{{Name: "cidr", Type: "string", Required: true}, {Name: "zones", Type: "list(string)", Default: "[]"}, {Name: "old", Type: "string"}},
		Outputs:   []Output{{Name: "id"}, {Name: "arn"}},
		Providers: []ProviderReq{{Name: "aws", Source: "hashicorp/aws", Versions: []string{"~> 5.0"}}},
	}
	now := Interface{
		Inputs:    []Input{{Name: "cidr", Type: "string", Default: `"10.0.0.0/8"`}, {Name: "zones", Type: "set(string)", Default: "[]"}, {Name: "name", Type: "string", Required: true}, {Name: "tags", Default: "{}"}},
		Outputs:   []Output{{Name: "id", Sensitive: true}, {Name: "name"}},
		Providers: []ProviderReq{{Name: "aws", Source: "hashicorp/aws", Versions: []string{"~> 6.0"}}, {Name: "time"}},
	}
	changes := CompareInterfaces(old, now)
	var got []string
	for _, c := range changes {
		word := "may: "
		if c.Breaking {
			word = "breaks: "
		}
		got = append(got, word+c.String())
	}
	want := []string{
		"breaks: input zones: type list(string) → set(string)", "breaks: input old: removed", "breaks: input name: added, required",
		"breaks: output id: is sensitive now", "breaks: output arn: removed", "breaks: provider aws: version ~> 5.0 → ~> 6.0", "breaks: provider time: needed now (any version)",
		`may: input cidr: is optional now; its default is "10.0.0.0/8"`, "may: input tags: added, optional", "may: output name: added",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if again := CompareInterfaces(now, now); len(again) != 0 {
		t.Errorf("the same interface differs: %v", again)
	}
}

// A check goes on case by case, in the order of what they depend on, and ends once.
func TestCheckAdvances(t *testing.T) {
	c := Check{State: CheckTesting, Cases: []CheckCase{
		{TestCase: TestCase{ID: "a", Name: "A"}, State: CaseWaiting},
		{TestCase: TestCase{ID: "b", Name: "B", DependsOn: []string{"a"}}, State: CaseWaiting},
		{TestCase: TestCase{ID: "c", Name: "C", DependsOn: []string{"b"}}, State: CaseWaiting},
		{TestCase: TestCase{ID: "d", Name: "D"}, State: CaseWaiting},
	}}
	ended := map[string]Run{}
	find := func(id string) (Run, bool) { r, ok := ended[id]; return r, ok }
	c, begin := c.Advance(find)
	if !slices.Equal(begin, []int{0, 3}) || c.Cases[1].State != CaseWaiting {
		t.Fatalf("begins %v: %+v", begin, c)
	}
	c.Cases[0].Run, c.Cases[3].Run = "ra", "rd"
	ended["rd"] = Run{State: Finished}
	if c, begin = c.Advance(find); len(begin) != 0 || c.Cases[3].State != CasePassed || c.State != CheckTesting {
		t.Fatalf("begins %v: %+v", begin, c)
	}
	ended["ra"] = Run{State: Failed, Reason: "bad zone"}
	c, begin = c.Advance(find)
	if len(begin) != 0 || c.Cases[1].State != CaseSkipped || c.Cases[2].State != CaseSkipped || c.State != CheckFailed {
		t.Fatalf("begins %v: %+v", begin, c)
	}
	if state, text := CheckStatus(c); state != StatusFailed || !strings.Contains(text, "Test “A” failed: bad zone") {
		t.Errorf("%s %q", state, text)
	}
	if none, _ := (Check{State: CheckTesting}).Advance(find); none.State != CheckPassed {
		t.Errorf("without tests: %s", none.State)
	}
}
