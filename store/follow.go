package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"groundcrew/runs"
)

// A Follow is an ended run of which trigger policies are still to be asked.
type Follow struct {
	Run       string    `json:"run"`
	At        time.Time `json:"at,omitzero"`         // when they were first asked; zero before
	Failed    []Unasked `json:"failed,omitempty"`    // that could not be asked then: they are asked again a few times, and when their text is mended
	Triggered []string  `json:"triggered,omitempty"` // stacks they named: each is started once at most
}

// An Unasked is a trigger policy that could not be asked.
type Unasked struct {
	Policy string `json:"policy"`          // slug
	Text   string `json:"text"`            // digest of its text then
	Error  string `json:"error,omitempty"` // why
	// At is when it was last asked, zero in rows of earlier versions, and Again how often it was asked again with this text.
	At    time.Time `json:"at,omitzero"`
	Again int       `json:"again,omitempty"`
}

// follow notes that trigger policies are to be asked of a run that has ended, where there are any.
func (tx *Tx) follow(r runs.Run) error {
	list, err := tx.Policies()
	if err != nil || !slices.ContainsFunc(list, func(p runs.Policy) bool { return p.Type == runs.PolicyTrigger && !p.Off }) {
		return err
	}
	tx.changed.Policies = true
	return tx.PutFollow(Follow{Run: r.ID})
}

// PutFollow stores what is still to be asked of a run.
func (tx *Tx) PutFollow(f Follow) error { return put(tx, "follows", f.Run, f) }

// Follows returns the ended runs of which trigger policies are still to be asked, oldest first.
func (tx *Tx) Follows() (list []Follow, err error) {
	err = each(tx, "follows", "", func(k string, raw []byte) (bool, error) {
		f := Follow{Run: k}
		if len(raw) > 0 { // earlier versions wrote nothing but the key
			if err := json.Unmarshal(raw, &f); err != nil {
				return false, fmt.Errorf("row follows/%s is damaged: %w", k, err)
			}
		}
		list = append(list, f)
		return true, nil
	})
	return list, err
}

// Followed says that nothing is to be asked of the run any more.
func (tx *Tx) Followed(run string) error { return unmark(tx, "follows", run) }
