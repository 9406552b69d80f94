package tofu

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"

	"groundcrew/runs"
)

// ReadPlan reads what `show -json` prints for a plan. What it returns holds no sensitive value; order is by
// address, so that the same plan gives the same [runs.Changes.Fingerprint].
//
// A resource that nothing happens to is left out, unless it is moved or imported; a resource that is changed
// as well as moved or imported is counted for both. A replacement counts as one add and one destroy. The parts
// of the JSON that repeat the whole state are passed over without being kept.
func ReadPlan(r io.Reader) (runs.Changes, runs.Delta, error) {
	var p plan
	if err := p.read(json.NewDecoder(r)); err != nil {
		return runs.Changes{}, runs.Delta{}, fmt.Errorf("the plan's JSON cannot be read: %w", err)
	}
	byAddress := func(a, b runs.ResourceChange) int { return cmp.Compare(a.Address, b.Address) }
	slices.SortStableFunc(p.changes.Resources, byAddress)
	slices.SortStableFunc(p.changes.Drift, byAddress)
	slices.SortFunc(p.changes.Outputs, func(a, b runs.OutputChange) int { return cmp.Compare(a.Name, b.Name) })
	p.takeCode()
	return p.changes, p.delta, nil
}

// A plan is what has been read so far.
type plan struct {
	format  string
	changes runs.Changes
	delta   runs.Delta
	code    code
}

// passed takes a JSON value and keeps nothing of it.
type passed struct{}

func (*passed) UnmarshalJSON([]byte) error { return nil }

func (p *plan) read(d *json.Decoder) error {
	d.UseNumber() // numbers are shown as they were written
	if err := expect(d, '{'); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		switch key {
		case "format_version":
			err = d.Decode(&p.format)
		case "resource_changes":
			err = each(d, p.addResource)
		case "resource_drift":
			err = each(d, p.addDrift)
		case "output_changes":
			err = p.readOutputs(d)
		case "configuration":
			err = p.readCode(d)
		default:
			err = d.Decode(new(passed))
		}
		if err != nil {
			return fmt.Errorf("in %v: %w", key, err)
		}
	}
	if err := expect(d, '}'); err != nil {
		return err
	}
	if !strings.HasPrefix(p.format, "0.") && !strings.HasPrefix(p.format, "1.") {
		return fmt.Errorf("format version %q is not known", p.format)
	}
	return nil
}

func expect(d *json.Decoder, want json.Delim) error {
	t, err := d.Token()
	if err == nil && t != want {
		err = fmt.Errorf("%v instead of %v", t, want)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// each decodes a list of resource changes one by one; null is an empty list.
func each(d *json.Decoder, add func(tfjson.ResourceChange)) error {
	if t, err := d.Token(); err != nil || t == nil {
		return err
	} else if t != json.Delim('[') {
		return fmt.Errorf("%v instead of a list", t)
	}
	for d.More() {
		var rc tfjson.ResourceChange
		if err := d.Decode(&rc); err != nil {
			return err
		}
		if rc.Change != nil {
			add(rc)
		}
	}
	return expect(d, ']')
}

func (p *plan) addResource(rc tfjson.ResourceChange) {
	action, known := resourceAction(rc)
	moved := rc.PreviousAddress != "" && rc.PreviousAddress != rc.Address
	imported := rc.Change.Importing != nil
	p.count(rc.Change.Actions, moved, imported)
	switch {
	case known:
	case imported:
		action = runs.ActImport
	case moved:
		action = runs.ActMove
	default:
		return
	}
	r := resource(rc, action)
	if moved {
		r.Previous = rc.PreviousAddress
	}
	if imported {
		r.ImportID = importID(*rc.Change.Importing)
	}
	p.changes.Resources = append(p.changes.Resources, r)
}

// importID is what the resource is imported by: an id, or since Terraform 1.12 an identity.
func importID(i tfjson.Importing) string {
	if i.ID == "" && i.Identity != nil {
		return shown(i.Identity)
	}
	return i.ID
}

// addDrift adds what was changed outside the tool.
func (p *plan) addDrift(rc tfjson.ResourceChange) {
	if action, known := resourceAction(rc); known {
		p.changes.Drift = append(p.changes.Drift, resource(rc, action))
	}
}

func resource(rc tfjson.ResourceChange, action runs.Action) runs.ResourceChange {
	r := runs.ResourceChange{Address: rc.Address, Type: rc.Type, Action: action, Reason: reason(rc.ActionReason), Attributes: diff(*rc.Change)}
	if rc.DeposedKey != "" {
		r.Address += " (deposed object " + rc.DeposedKey + ")"
	}
	return r
}

// resourceAction says what happens to a resource; known is false for nothing at all, and for what happens to
// ephemeral resources only.
func resourceAction(rc tfjson.ResourceChange) (action runs.Action, known bool) {
	has := func(a tfjson.Action) bool { return slices.Contains(rc.Change.Actions, a) }
	switch {
	case has(tfjson.ActionCreate) && (has(tfjson.ActionDelete) || has(tfjson.ActionForget)):
		return runs.ActReplace, true
	case has(tfjson.ActionCreate):
		return runs.ActAdd, true
	case has(tfjson.ActionDelete):
		return runs.ActDestroy, true
	case has(tfjson.ActionUpdate):
		return runs.ActChange, true
	case has(tfjson.ActionForget):
		return runs.ActForget, true
	case has(tfjson.ActionRead):
		return runs.ActRead, true
	default:
		return "", false
	}
}

func (p *plan) count(actions tfjson.Actions, moved, imported bool) {
	for _, a := range actions {
		switch a {
		case tfjson.ActionCreate:
			p.delta.Add++
		case tfjson.ActionUpdate:
			p.delta.Change++
		case tfjson.ActionDelete:
			p.delta.Destroy++
		case tfjson.ActionForget:
			p.delta.Forget++
		}
	}
	if moved {
		p.delta.Move++
	}
	if imported {
		p.delta.Import++
	}
}

func (p *plan) readOutputs(d *json.Decoder) error {
	var outputs map[string]*tfjson.Change
	if err := d.Decode(&outputs); err != nil {
		return err
	}
	for name, c := range outputs {
		if c == nil {
			continue
		}
		action, known := resourceAction(tfjson.ResourceChange{Change: c})
		if !known || action == runs.ActRead {
			continue
		}
		if action == runs.ActReplace {
			action = runs.ActChange // nothing is destroyed when an output gets a new value
		}
		o := runs.OutputChange{
			Name: name, Action: action,
			Sensitive: anyTrue(c.BeforeSensitive) || anyTrue(c.AfterSensitive),
			Unknown:   anyTrue(c.AfterUnknown),
			Effect:    effect(c.Before, c.After, c.AfterUnknown),
		}
		if !o.Sensitive {
			o.Before = shown(c.Before)
			if !o.Unknown {
				o.After = shown(c.After)
			}
		}
		p.changes.Outputs = append(p.changes.Outputs, o)
		p.delta.Outputs++
	}
	return nil
}

// A module of the code.
type module struct {
	Resources   []json.RawMessage
	ModuleCalls map[string]struct{ Module module } `json:"module_calls"`
}

// A code is what the configuration says, by address without indexes.
type code struct {
	resources   map[string]json.RawMessage
	provisioned map[string]bool
	providers   json.RawMessage
}

// readCode keeps what the code says of resources and providers.
func (p *plan) readCode(d *json.Decoder) error {
	var c struct {
		Providers json.RawMessage `json:"provider_config"`
		Root      module          `json:"root_module"`
	}
	if err := d.Decode(&c); err != nil {
		return err
	}
	p.code = code{resources: map[string]json.RawMessage{}, provisioned: map[string]bool{}, providers: c.Providers}
	return p.code.add("", c.Root)
}

func (c *code) add(at string, m module) error {
	for _, raw := range m.Resources {
		var r struct {
			Address      string
			Provisioners []json.RawMessage
		}
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		c.resources[at+r.Address], c.provisioned[at+r.Address] = raw, len(r.Provisioners) > 0
	}
	for name, call := range m.ModuleCalls {
		if err := c.add(at+"module."+name+".", call.Module); err != nil {
			return err
		}
	}
	return nil
}

var index = regexp.MustCompile(`\[("([^"\\]|\\.)*"|[0-9]+)\]`)

// takeCode digests what the code says of the resources that change.
func (p *plan) takeCode() {
	addresses := map[string]bool{}
	for _, r := range p.changes.Resources {
		address, _, _ := strings.Cut(r.Address, " (deposed object ")
		addresses[index.ReplaceAllString(address, "")] = true
	}
	said := []string{compact(p.code.providers)}
	for _, address := range slices.Sorted(maps.Keys(addresses)) {
		said = append(said, address+" "+compact(p.code.resources[address]))
		p.changes.Unsaid = p.changes.Unsaid || p.code.provisioned[address]
	}
	p.changes.Code = effect(said)
}

// reasons says the tools' action_reason in words.
var reasons = map[tfjson.ActionReason]string{
	"replace_because_cannot_update":     "it cannot be updated in place",
	"replace_because_tainted":           "it is tainted: an earlier apply left it unfinished",
	"replace_by_request":                "the replacement was asked for",
	"replace_by_triggers":               "something in its replace_triggered_by changes",
	"delete_because_no_resource_config": "it is not in the configuration any more",
	"delete_because_wrong_repetition":   "count or for_each was added or removed",
	"delete_because_count_index":        "its index is beyond count",
	"delete_because_each_key":           "its key is not in for_each any more",
	"delete_because_no_module":          "its module is not in the configuration any more",
	"delete_because_no_move_target":     "it was moved to an address that is not in the configuration",
	"delete_because_enabled_false":      "it is switched off (enabled = false)",
	"read_because_config_unknown":       "its configuration is known only during apply",
	"read_because_dependency_pending":   "it depends on something that changes",
	"read_because_check_nested":         "it is part of a check",
}

func reason(r tfjson.ActionReason) string {
	if words, ok := reasons[r]; ok {
		return words
	}
	return strings.ReplaceAll(string(r), "_", " ") // one that came later
}
