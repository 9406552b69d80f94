package web

import (
	"errors"
	"strings"
	"testing"
	"time"

	"groundcrew/store"
)

// A hook that signs can't be got around with its secret alone, also while secrets are rotated; a GitLab that stops signing is
// believed when GitLab itself says so.
func TestUnsignedDeliveriesOfASigningHookAreRefused(t *testing.T) {
	s := newSite(t)
	s.link("https://gitlab.test")
	hook := func(state func(*store.Hook)) {
		must(t, s.st.Update(func(tx *store.Tx) error {
			row, err := tx.Hook(7)
			state(&row)
			return errors.Join(err, tx.PutHook(row))
		}))
	}
	set := func(version, require string) {
		must(t, s.st.Update(func(tx *store.Tx) error {
			in, _, err := tx.Integration()
			in.Health.Version, in.RequireSigned = version, require
			return errors.Join(err, tx.PutIntegration(in))
		}))
	}
	in, _, err := s.web.integration()
	must(t, err)
	body := `{"object_kind":"push","event_name":"push","ref":"refs/heads/main","before":"` + strings.Repeat("a", 40) + `","after":"` + strings.Repeat("b", 40) + `","project_id":7,"project":{"id":7,"path_with_namespace":"a/b"},"commits":[]}`
	send := func() int { return s.hook(in.Secret.Reveal(), body).status }
	for _, c := range []struct {
		why              string
		version, require string
		signed, heard    bool
		want             int
	}{
		{"GitLab 18 signs nothing", "18.5.1", "", false, false, 200},
		{"a hook that signs and was not heard yet", "19.2.1", "", true, false, 200},
		{"a hook that was heard to sign", "19.2.1", "", true, true, 401},
		{"the same, but an admin takes them", "19.2.1", store.SignedNever, true, true, 200},
		{"always", "18.5.1", store.SignedAlways, false, false, 401},
		{"GitLab says that it signs no more", "19.2.1", "", false, false, 200},
	} {
		set(c.version, c.require)
		hook(func(h *store.Hook) {
			h.Signed, h.SignedAt = c.signed, time.Time{}
			if c.heard {
				h.SignedAt = time.Now()
			}
		})
		if got := send(); got != c.want {
			t.Errorf("%s: answered %d, want %d", c.why, got, c.want)
		}
	}
}
