package store

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"groundcrew/runs"
)

// An AuditEntry says who did what, when, from where, and what it was before and after.
type AuditEntry struct {
	ID      string        `json:"id"`
	At      time.Time     `json:"at"`
	By      string        `json:"by"`
	Action  string        `json:"action"` // noun.verb
	Target  string        `json:"target,omitempty"`
	Stack   string        `json:"stack,omitempty"`
	Note    string        `json:"note,omitempty"`
	Address string        `json:"address,omitempty"` // the request came from
	Via     string        `json:"via,omitempty"`     // "session …" or "key …" that it was made with; never a token
	Changes []AuditChange `json:"changes,omitempty"`
}

// An AuditChange is one setting before and after, as JSON or text; a secret is a digest, see [Tx.Digest].
type AuditChange struct {
	Field  string `json:"field"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// An Origin says where an act comes from.
type Origin struct{ Address, Via string }

// Acts are what one name does from one origin until End; see [Store.Acting].
type Acts struct {
	s      *Store
	by     string
	origin Origin
	count  int
}

// Acting says that somebody acts from an origin until End is called: entries by that name hold it. When one name acts from
// two origins in the same moment an entry names both, because it can be of either.
func (s *Store) Acting(by string, o Origin) *Acts {
	s.actingMu.Lock()
	defer s.actingMu.Unlock()
	if s.acting == nil {
		s.acting = map[string][]*Acts{}
	}
	a := &Acts{s: s, by: by, origin: o}
	s.acting[by] = append(s.acting[by], a)
	return a
}

// End ends the acts and says how many entries were written meanwhile. Calling it again changes nothing.
func (a *Acts) End() int {
	a.s.actingMu.Lock()
	defer a.s.actingMu.Unlock()
	list := slices.DeleteFunc(a.s.acting[a.by], func(o *Acts) bool { return o == a })
	if a.s.acting[a.by] = list; len(list) == 0 {
		delete(a.s.acting, a.by)
	}
	return a.count
}

// originOf is where an entry by that name comes from, and counts it.
func (s *Store) originOf(by string) Origin {
	s.actingMu.Lock()
	defer s.actingMu.Unlock()
	var addresses, vias []string
	for _, a := range s.acting[by] {
		a.count++
		addresses, vias = append(addresses, a.origin.Address), append(vias, a.origin.Via)
	}
	join := func(list []string) string {
		slices.Sort(list)
		return strings.Join(slices.Compact(list), " or ")
	}
	return Origin{join(addresses), join(vias)}
}

// Audit appends to the audit log. Where an entry comes from is filled in from [Store.Acting].
func (tx *Tx) Audit(e AuditEntry) error {
	e.ID, e.At = tx.NewID(), tx.now
	if e.By == "" {
		e.By = runs.System
	}
	if o := tx.s.originOf(e.By); e.Address == "" && e.Via == "" {
		e.Address, e.Via = o.Address, o.Via
	}
	tx.b.Bucket([]byte("audit")).FillPercent = 0.95 // rows only come at the end, so a page that is full stays as it is
	return put(tx, "audit", e.ID, e)
}

// Digest stands for a secret in the audit log: equal secrets of one field have equal digests, and without the master key
// nobody can try which secret it is of. "" stands for none.
func (tx *Tx) Digest(field string, secret runs.Secret) string {
	if secret == "" {
		return ""
	}
	mac := hmac.New(sha256.New, tx.s.digestKey)
	mac.Write([]byte(field + "\x00" + secret.Reveal()))
	return "digest:" + hex.EncodeToString(mac.Sum(nil)[:8])
}

// Changed lists the fields in which two values of one type differ in their JSON. Fields that hold a ciphertext or a hash,
// and the times that change with every write, are left out.
func Changed(before, after any) ([]AuditChange, error) {
	b, err := fieldsOf(before)
	if err != nil {
		return nil, err
	}
	a, err := fieldsOf(after)
	if err != nil {
		return nil, err
	}
	var out []AuditChange
	for name := range merged(b, a) {
		if x, y := string(b[name]), string(a[name]); x != y && !strings.HasPrefix(name, "sealed_") && !slices.Contains(unsaid, name) {
			out = append(out, AuditChange{name, unquoted(x), unquoted(y)})
		}
	}
	slices.SortFunc(out, func(x, y AuditChange) int { return strings.Compare(x.Field, y.Field) })
	return out, nil
}

var unsaid = []string{"updated_at", "last_seen", "password_hash", "invite_hash", "health", "rotation", "id", "created_at", "meta"}

func fieldsOf(v any) (map[string]json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	if v == nil {
		return fields, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("what changed cannot be written down: %w", err)
	}
	return fields, json.Unmarshal(raw, &fields)
}

func merged(a, b map[string]json.RawMessage) map[string]bool {
	all := map[string]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return all
}

// maxChange bounds one side of a change, in bytes.
const maxChange = 2000

// unquoted shows a JSON text as the text, anything else as it is.
func unquoted(raw string) string {
	var text string
	if json.Unmarshal([]byte(raw), &text) != nil {
		text = raw
	}
	if len(text) > maxChange {
		text = strings.ToValidUTF8(text[:maxChange], "") + "…"
	}
	return text
}

// An AuditFilter chooses entries; the zero value chooses all. Texts are looked for anywhere, letter case aside.
type AuditFilter struct {
	By, Action, Target string
	Since, Until       time.Time // Until is not included
}

func (f AuditFilter) match(e AuditEntry) bool {
	holds := func(text, part string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(part)) }
	return holds(e.By, f.By) && holds(e.Action, f.Action) && holds(e.Target+"\n"+e.Stack, f.Target) &&
		(f.Until.IsZero() || e.At.Before(f.Until)) && !e.At.Before(f.Since)
}

// AuditLog lists entries newest first below the cursor.
func (tx *Tx) AuditLog(cursor string, limit int) (page []AuditEntry, next string, err error) {
	return tx.AuditSearch(AuditFilter{}, cursor, limit)
}

// auditScan bounds how many entries one search looks at; the cursor goes on from there.
const auditScan = 20000

// AuditSearch lists the entries a filter chooses, newest first below the cursor. A page of a search that finds little may
// be shorter than the limit and still have a next one.
func (tx *Tx) AuditSearch(f AuditFilter, cursor string, limit int) (page []AuditEntry, next string, err error) {
	if !f.Until.IsZero() && (cursor == "" || idAt(f.Until) < cursor) {
		cursor = idAt(f.Until)
	}
	seen, last := 0, ""
	err = eachBack(tx, "audit", "", cursor, func(k string, _ []byte) (bool, error) {
		if !f.Since.IsZero() && k < idAt(f.Since) {
			return false, nil
		}
		if len(page) == limit || seen == auditScan {
			next = last
			return false, nil
		}
		var e AuditEntry
		_, err := get(tx, "audit", k, &e)
		if err == nil && f.match(e) {
			page = append(page, e)
		}
		seen, last = seen+1, k
		return true, err
	})
	return page, next, err
}

// TrimAudit removes at most limit entries that are older than before, and says how many.
func (tx *Tx) TrimAudit(before time.Time, limit int) (int, error) {
	var old []string
	end := idAt(before)
	err := each(tx, "audit", "", func(k string, _ []byte) (bool, error) {
		if k >= end || len(old) == limit {
			return false, nil
		}
		old = append(old, k)
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	for _, k := range old {
		if err := unmark(tx, "audit", k); err != nil {
			return 0, err
		}
	}
	return len(old), nil
}
