package tofu

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"
)

// Withheld stands in a [PolicyPlan] for every sensitive value.
const Withheld = "(sensitive)"

// MaxPolicyPlan is how many bytes a [PolicyPlan] may have.
const MaxPolicyPlan = 8 << 20

// PolicyPlan reads what `show -json` prints for a plan and gives what policies may see of it, in the tool's own form: format_version,
// terraform_version, resource_changes, resource_drift and output_changes. All else repeats the state or holds variables and is left
// out, and so are the values of resources that nothing happens to, and generated configuration. Every sensitive value is [Withheld],
// and so is every other value of the same resource that holds its text. A plan that comes to more than MaxPolicyPlan is an error.
func PolicyPlan(r io.Reader) (json.RawMessage, error) {
	p := policyPlan{parts: map[string]json.RawMessage{}, left: MaxPolicyPlan}
	if err := p.read(json.NewDecoder(r)); err != nil {
		return nil, fmt.Errorf("the plan's JSON cannot be read: %w", err)
	}
	return json.Marshal(p.parts)
}

type policyPlan struct {
	parts map[string]json.RawMessage
	left  int // bytes
}

func (p *policyPlan) read(d *json.Decoder) error {
	d.UseNumber()
	if err := expect(d, '{'); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		if err := p.readPart(d, key); err != nil {
			return fmt.Errorf("in %v: %w", key, err)
		}
	}
	return expect(d, '}')
}

func (p *policyPlan) readPart(d *json.Decoder, key json.Token) error {
	switch key {
	case "format_version", "terraform_version":
		var version string
		if err := d.Decode(&version); err != nil {
			return err
		}
		return p.keep(key.(string), version)
	case "resource_changes", "resource_drift":
		return p.readResources(d, key.(string))
	case "output_changes":
		return p.readOutputs(d)
	default:
		return d.Decode(new(passed))
	}
}

func (p *policyPlan) keep(key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	p.parts[key] = b
	return p.spend(len(b))
}

func (p *policyPlan) spend(n int) error {
	if p.left -= n; p.left < 0 {
		return fmt.Errorf("the changes have more than %d bytes, the most that policies look at", MaxPolicyPlan)
	}
	return nil
}

func (p *policyPlan) readResources(d *json.Decoder, key string) error {
	list := bytes.NewBufferString("[")
	var failed error
	err := each(d, func(rc tfjson.ResourceChange) {
		if failed != nil {
			return
		}
		b, err := json.Marshal(policyResource(rc))
		if err == nil {
			err = p.spend(len(b))
		}
		if failed = err; err != nil {
			return
		}
		if list.Len() > 1 {
			list.WriteByte(',')
		}
		list.Write(b)
	})
	p.parts[key] = append(list.Bytes(), ']')
	return cmp.Or(failed, err)
}

func (p *policyPlan) readOutputs(d *json.Decoder) error {
	var outputs map[string]*tfjson.Change
	if err := d.Decode(&outputs); err != nil {
		return err
	}
	out := map[string]policyChange{}
	for name, c := range outputs {
		if c != nil {
			out[name] = withheld(c)
		}
	}
	return p.keep("output_changes", out)
}

// A policyEntry is a resource change as the tools write it.
type policyEntry struct {
	Address         string       `json:"address,omitempty"`
	PreviousAddress string       `json:"previous_address,omitempty"`
	ModuleAddress   string       `json:"module_address,omitempty"`
	Mode            string       `json:"mode,omitempty"`
	Type            string       `json:"type,omitempty"`
	Name            string       `json:"name,omitempty"`
	Index           any          `json:"index,omitempty"`
	ProviderName    string       `json:"provider_name,omitempty"`
	Deposed         string       `json:"deposed,omitempty"`
	Change          policyChange `json:"change"`
	ActionReason    string       `json:"action_reason,omitempty"`
}

type policyChange struct {
	Actions         tfjson.Actions    `json:"actions"`
	Before          any               `json:"before"`
	After           any               `json:"after"`
	AfterUnknown    any               `json:"after_unknown,omitempty"`
	BeforeSensitive any               `json:"before_sensitive,omitempty"`
	AfterSensitive  any               `json:"after_sensitive,omitempty"`
	Importing       *tfjson.Importing `json:"importing,omitempty"`
	ReplacePaths    []any             `json:"replace_paths,omitempty"`
}

func policyResource(rc tfjson.ResourceChange) policyEntry {
	return policyEntry{
		Address: rc.Address, PreviousAddress: rc.PreviousAddress, ModuleAddress: rc.ModuleAddress, Mode: string(rc.Mode), Type: rc.Type,
		Name: rc.Name, Index: rc.Index, ProviderName: rc.ProviderName, Deposed: rc.DeposedKey, Change: withheld(rc.Change),
		ActionReason: string(rc.ActionReason),
	}
}

// withheld is the change without what is sensitive, and without the values of one that changes nothing.
func withheld(c *tfjson.Change) policyChange {
	var d differ
	d.collect(c.Before, c.BeforeSensitive)
	d.collect(c.After, c.AfterSensitive)
	out := policyChange{Actions: c.Actions, ReplacePaths: d.redactList(c.ReplacePaths), Importing: d.redactImport(c.Importing)}
	if slices.Equal(c.Actions, tfjson.Actions{tfjson.ActionNoop}) {
		return out
	}
	out.Before, out.After = d.redactObject(c.Before, c.BeforeSensitive), d.redactObject(c.After, c.AfterSensitive)
	out.AfterUnknown = d.redactObject(c.AfterUnknown, nil)
	out.BeforeSensitive, out.AfterSensitive = d.redactObject(c.BeforeSensitive, nil), d.redactObject(c.AfterSensitive, nil)
	return out
}

func (d *differ) redactList(list []any) []any {
	out, _ := d.redact(list, nil).([]any)
	return out
}

func (d *differ) redactImport(i *tfjson.Importing) *tfjson.Importing {
	if i == nil {
		return nil
	}
	id, _ := d.redact(i.ID, nil).(string)
	return &tfjson.Importing{ID: id, Unknown: i.Unknown, Identity: d.redact(i.Identity, nil)}
}

// redactObject is redact for all of a resource or output: the names of its attributes are the provider's and stay.
func (d *differ) redactObject(v, mark any) any {
	object, is := v.(map[string]any)
	marked, fits := mark.(map[string]any)
	if !is || !fits && anyTrue(mark) {
		return d.redact(v, mark)
	}
	out := make(map[string]any, len(object))
	for k, e := range object {
		out[k] = d.redact(e, marked[k])
	}
	return out
}

// redact is the value with Withheld in the place of all that is sensitive. Where the mark has another shape than the value, all of the
// value is withheld.
func (d *differ) redact(v, mark any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		if marked, is := mark.(map[string]any); is || !anyTrue(mark) {
			return d.redactMap(v, marked)
		}
	case []any:
		if marked, is := mark.([]any); is || !anyTrue(mark) {
			out := make([]any, len(v))
			for i := range v {
				out[i] = d.redact(v[i], part(marked, i))
			}
			return out
		}
	default:
		if !anyTrue(mark) && !d.holdsSecret(v) {
			return v
		}
	}
	return Withheld
}

// redactMap withholds keys too, each by itself, so that the others can still be looked at.
func (d *differ) redactMap(v, mark map[string]any) map[string]any {
	out, hidden := make(map[string]any, len(v)), 0
	for _, k := range slices.Sorted(maps.Keys(v)) {
		name := k
		if d.isSecret(k) {
			hidden++
			name = fmt.Sprint(Withheld, " ", hidden)
		}
		out[name] = d.redact(v[k], mark[k])
	}
	return out
}

// isSecret reports whether a sensitive text is part of this one.
func (d *differ) isSecret(s string) bool {
	return slices.ContainsFunc(d.secrets, func(secret string) bool { return strings.Contains(s, secret) })
}
