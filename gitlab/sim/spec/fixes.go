package spec

import "fmt"

// Unpublished are routes GitLab has and its description has not, each with the reason.
var Unpublished = map[string]string{
	"GET projects/{}/repository/archive.{}": "the format as an ending is a part of the path that the description can't say",
}

// lists are answered as lists and described as one entity.
var lists = []string{
	"GET projects/{}/merge_requests", "GET projects/{}/merge_requests/{}/commits", "GET projects/{}/merge_requests/{}/diffs",
	"GET projects/{}/merge_requests/{}/pipelines", "GET projects/{}/repository/tree", "GET users",
}

// A fix is a type, of an answer, a parameter or a property, that the description lacks or has wrong.
type fix struct{ of, name, typ, why string }

var answers = []fix{
	{"GET projects", "200", "[]ProjectWithAccess", "only simple=true leaves the basic details"},
	{"GET projects/{}/merge_requests/{}/changes", "200", "MergeRequest", "a merge request with its diffs; the description has texts for all"},
	{"POST projects/{}/environments/{}/stop", "200", "Environment", "what the endpoint really answers (§8)"},
	{"POST projects/{}/merge_requests/{}/notes", "202", "object", "a body of quick actions only makes no note (§6)"},
}

var params = []fix{
	{"POST projects/{}/hooks", "milestone_events", "boolean", newer},
	{"PUT projects/{}/hooks/{}", "milestone_events", "boolean", newer},
	{"POST personal_access_tokens/self/rotate", "expires_at", "date", "a date and nothing else (§1)"},
	{"GET projects", "pagination", "string|keyset", "keyset pages are a part of every list that has them (§0.5)"},
	{"GET projects/{}/deployments", "order_by", "string|id,iid,created_at,updated_at,finished_at,ref", "ref is a documented order (§8)"},
	{"GET projects/{}/repository/files/{}", "ref", "string", "HEAD stands for it in later versions (§3)"},
}

const (
	newer    = "newer than the description"
	oneOfAll = "a list, described as one of it"
)

var properties = []fix{
	{"UserBasic", "public_email", "string", newer},
	{"Member", "public_email", "string", newer},
	{"User", "github", "string", newer},
	{"User", "bot", "boolean", "described as text"},
	{"Added_CurrentUser", "github", "string", newer},
	{"PersonalAccessToken", "last_used_ips", "[]string", newer},
	{"ProjectHook", "milestone_events", "boolean", newer},
	{"Diff", "collapsed", "boolean", newer},
	{"Diff", "too_large", "boolean", newer},
	{"Ci_Pipeline", "archived", "boolean", newer},
	{"Ci_PipelineWithMetadata", "archived", "boolean", newer},
	{"Approvals", "approved_at", "string", newer},
	{"MergeRequestApprovals", "approved_by", "[]Approvals", oneOfAll},
	{"MergeRequest", "changes", "[]Diff", "of …/changes only"},
	{"MergeRequest", "overflow", "boolean", "of …/changes only"},
}

// mend corrects the table. A fix that meets nothing, or that the description has learned meanwhile, is an error, so that none
// outlives what it was for.
func (t *Table) mend() error {
	for _, name := range lists {
		o := t.Operations[name]
		if o == nil || Read(o.Answers["200"]).List {
			return fmt.Errorf("%s needs no mending into a list", name)
		}
		o.Answers["200"] = "[]" + o.Answers["200"]
	}
	for _, f := range answers {
		if o := t.Operations[f.of]; o == nil || !put(o.Answers, f) {
			return fmt.Errorf("the answer %s of %s needs no mending", f.name, f.of)
		}
	}
	for _, f := range params {
		if o := t.Operations[f.of]; o == nil || !put(o.Params, f) {
			return fmt.Errorf("the parameter %s of %s needs no mending", f.name, f.of)
		}
	}
	for _, f := range properties {
		if s := t.Shapes[f.of]; s == nil || !put(s, f) {
			return fmt.Errorf("the property %s of %s needs no mending", f.name, f.of)
		}
	}
	return nil
}

// put sets a type and reports whether that changed anything.
func put(into map[string]string, f fix) bool {
	was, there := into[f.name]
	into[f.name] = f.typ
	return f.why != "" && (!there || was != f.typ)
}
