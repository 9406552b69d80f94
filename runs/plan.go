package runs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// A Delta counts what a plan would do. A replacement counts as one add and one destroy, as the tools do.
type Delta struct {
	Add     int `json:"add"`
	Change  int `json:"change"`
	Destroy int `json:"destroy"`
	Import  int `json:"import"`
	Move    int `json:"move"`
	Forget  int `json:"forget"`
	Outputs int `json:"outputs,omitempty"` // outputs that would change; they make a plan non-empty
}

// Empty reports whether the plan would change nothing at all.
func (d Delta) Empty() bool { return d == Delta{} }

// Resources is the number of changes to resources a person is asked to agree to.
func (d Delta) Resources() int { return d.Add + d.Change + d.Destroy + d.Import + d.Move + d.Forget }

// String says the delta in words: "1 to add, 0 to change, 0 to destroy", further kinds only when there
// are some, or "No changes".
func (d Delta) String() string {
	if d.Empty() {
		return "No changes"
	}
	if d.Resources() == 0 {
		return "Only outputs change (" + fmt.Sprint(d.Outputs) + ")"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d to add, %d to change, %d to destroy", d.Add, d.Change, d.Destroy)
	for _, more := range []struct {
		n    int
		word string
	}{{d.Import, "import"}, {d.Move, "move"}, {d.Forget, "forget"}} {
		if more.n > 0 {
			fmt.Fprintf(&b, ", %d to %s", more.n, more.word)
		}
	}
	return b.String()
}

// An Action is what a plan would do to one resource.
type Action string

// The actions, as pages and comments name them.
const (
	ActAdd     Action = "add"
	ActChange  Action = "change"
	ActReplace Action = "replace"
	ActDestroy Action = "destroy"
	ActImport  Action = "import"
	ActMove    Action = "move"
	ActForget  Action = "forget"
	ActRead    Action = "read"
)

// Sign is the action's mark in lists and diffs, readable without colour.
func (a Action) Sign() string {
	switch a {
	case ActAdd:
		return "+"
	case ActDestroy:
		return "−"
	case ActReplace:
		return "±"
	case ActImport:
		return "↓"
	case ActMove:
		return "→"
	case ActForget:
		return "⊘"
	case ActRead:
		return "≤"
	default:
		return "~"
	}
}

// An AttributeChange is one attribute of a resource before and after. Before and After are JSON texts
// shortened to a readable length; of a sensitive value both are empty.
type AttributeChange struct {
	Path      string `json:"path"` // labels.team, rule[0].port
	Before    string `json:"before,omitempty"`
	After     string `json:"after,omitempty"`
	Unknown   bool   `json:"unknown,omitempty"`   // known after apply
	Sensitive bool   `json:"sensitive,omitempty"` // values withheld
	Replaces  bool   `json:"replaces,omitempty"`  // this attribute forces the replacement

	// Effect is a digest of the whole values, sensitive ones too, for the fingerprint. It is never stored or shown: somebody could
	// try which secret it is of.
	Effect string `json:"-"`
}

// A ResourceChange is what a plan would do to one resource.
type ResourceChange struct {
	Address    string            `json:"address"`
	Type       string            `json:"type"`
	Action     Action            `json:"action"`
	Previous   string            `json:"previous,omitempty"`  // address it moves from
	ImportID   string            `json:"import_id,omitempty"` // id it is imported by
	Reason     string            `json:"reason,omitempty"`    // the tool's action_reason, in words
	Attributes []AttributeChange `json:"attributes,omitempty"`
}

// An OutputChange is what a plan would do to one output.
type OutputChange struct {
	Name      string `json:"name"`
	Action    Action `json:"action"`
	Before    string `json:"before,omitempty"`
	After     string `json:"after,omitempty"`
	Unknown   bool   `json:"unknown,omitempty"`
	Sensitive bool   `json:"sensitive,omitempty"`
	Effect    string `json:"-"` // as in AttributeChange
}

// Changes is a plan made readable, without secrets. It is kept as a file per run.
type Changes struct {
	Resources []ResourceChange `json:"resources"`
	Outputs   []OutputChange   `json:"outputs,omitempty"`
	Drift     []ResourceChange `json:"drift,omitempty"` // changed outside the tool

	// Code is a digest of what the code says of the resources that change, and of the providers: which provider makes them, what
	// an unknown value will be made of.
	Code string `json:"-"`
	// Unsaid reports that not all of the effect stands in the plan: a resource that changes has a provisioner, of whose command the
	// plan holds a part only.
	Unsaid bool `json:"-"`
}

// Fingerprint names the effect of a plan: two plans that would do the same, in the tool's order, have the same one, whatever commit
// or moment they were made at and whatever drift they found. All of every value counts, sensitive ones too, and so does what the code
// says of the resources that change; without the key nobody can try values until they fit. It is "" where no effect is listed. Of
// plans that are Unsaid the caller has to take in more.
func (c Changes) Fingerprint(key []byte) string {
	if len(c.Resources)+len(c.Outputs) == 0 {
		return ""
	}
	var effects []string
	for _, r := range c.Resources {
		for _, a := range r.Attributes {
			effects = append(effects, a.Effect)
		}
	}
	for _, o := range c.Outputs {
		effects = append(effects, o.Effect)
	}
	b, err := json.Marshal(struct {
		R []ResourceChange `json:",omitempty"` // none is none, be it nil or empty
		O []OutputChange   `json:",omitempty"`
		E []string
		C string
	}{c.Resources, c.Outputs, effects, c.Code})
	if err != nil {
		return "" // strings, booleans and slices always marshal
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	return hex.EncodeToString(mac.Sum(nil)[:16])
}
