package engine

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"groundcrew/gitlab"
	"groundcrew/runs"
	"groundcrew/store"
)

// The states of a project's hook.
const (
	HookOK        = "ok"
	HookMissing   = "missing"
	HookDuplicate = "duplicate"
	HookEvents    = "wrong_events"
	HookURL       = "wrong_url"
	HookSecret    = "wrong_secret"
	HookDisabled  = "disabled"
	HookMoving    = "moving"       // a new secret is on its way to it
	HookWaits     = "repair_waits" // it is to be repaired as soon as GitLab lets us
	HookUnknown   = "unknown"
)

// A Hook is how a project's webhook stands in GitLab.
type Hook struct {
	State        string
	Detail       string // in words
	LastDelivery time.Time
	Signed       bool // GitLab signs its deliveries
	TestedAt     time.Time
	TestOK       bool
	TestText     string // what came of the last test
}

// Mendable reports whether installing the hook again would put it right.
func (h Hook) Mendable() bool {
	return h.State != HookOK && h.State != HookUnknown && h.State != HookMoving && h.State != HookWaits
}

// knownHook is a hook as far as it is known without asking GitLab: how it was last seen, and what of its repair waits.
func knownHook(tx *store.Tx, row store.Hook, t store.Traffic) (Hook, error) {
	h := Hook{
		State: row.State, Detail: row.Detail, LastDelivery: t.Last, Signed: row.Signed,
		TestedAt: row.TestedAt, TestOK: row.TestOK, TestText: row.TestText,
	}
	if h.State == "" {
		h.State, h.Detail = HookUnknown, "Not looked at yet."
	}
	rep, ok, err := tx.Report(store.HookTarget(row.Project))
	if err != nil || !ok {
		return h, err
	}
	switch {
	case rep.State == store.ReportParked:
		if row.Owed && h.State == HookOK {
			h.State = HookSecret
		}
		h.Detail = "GitLab refused the repair: " + rep.LastError + " " + rep.Cause + " " + rep.Mend
	case rep.State == store.ReportWaiting && rep.LastError != "":
		h.State, h.Detail = HookWaits, fmt.Sprintf("The repair waits: %s Attempt %d follows by itself.", sentence(rep.LastError), rep.Attempts+1)
		if row.Owed {
			h.Detail += " The old secret works for its grace period."
		}
	case row.Owed:
		h.State, h.Detail = HookMoving, "The new secret is on its way to the hook. The old one still works."
	}
	return h, nil
}

// lookAtHook asks GitLab how a used project's hook stands and remembers it.
func (e *Engine) lookAtHook(ctx context.Context, c *gitlab.Client, project int64) (Hook, error) {
	traffic, err := e.traffic(project)
	if err != nil {
		return Hook{}, err
	}
	return e.hookState(ctx, c, project, traffic[project], true)
}

func (e *Engine) traffic(of ...int64) (out map[int64]store.Traffic, err error) {
	err = e.st.View(func(tx *store.Tx) (err error) {
		out, err = tx.Traffic(of...)
		return err
	})
	return out, err
}

// hookState asks GitLab how a project's hook stands; keep remembers the answer.
func (e *Engine) hookState(ctx context.Context, c *gitlab.Client, project int64, t store.Traffic, keep bool) (Hook, error) {
	all, askErr := c.Hooks(ctx, project)
	if ctx.Err() != nil {
		return Hook{}, ctx.Err()
	}
	var out Hook
	look := func(tx *store.Tx) error {
		row, err := tx.Hook(project)
		if err != nil {
			return err
		}
		before := row
		if askErr != nil {
			row.State, row.Detail = HookUnknown, message(gitlabError(askErr, "the project is gone, or the token's user is not its Maintainer"))
		} else {
			ours := e.ours(all, row.ID)
			if row.Signed = row.Signed && len(ours) > 0 && ours[0].SigningTokenPresent; !row.Signed {
				row.SignedAt = time.Time{}
			}
			row.State, row.Detail = e.judgeHook(ours, all, row, t)
		}
		if out, err = knownHook(tx, row, t); err != nil {
			return err
		}
		if !keep || row == before && tx.Now().Sub(row.CheckedAt) < time.Minute {
			return nil
		}
		row.CheckedAt = tx.Now()
		return tx.PutHook(row)
	}
	in := e.st.View
	if keep {
		in = e.st.Update
	}
	err := in(look)
	return out, err
}

// judgeHook says how a project's hooks stand.
func (e *Engine) judgeHook(ours, all []gitlab.ProjectHook, row store.Hook, t store.Traffic) (state, detail string) {
	switch {
	case len(ours) == 0:
		for _, h := range all {
			if strings.HasSuffix(h.URL, "/webhooks/gitlab") {
				return HookMissing, "GitLab does not tell this server of pushes here. A hook leads to another address, " + h.URL + ": is that this server's old address, or another installation?"
			}
		}
		return HookMissing, "GitLab does not tell Groundcrew of pushes here. Install the hook."
	case len(ours) > 1:
		return HookDuplicate, fmt.Sprintf("%d hooks point here: one is enough. Nothing runs twice.", len(ours))
	}
	h := ours[0]
	switch {
	case h.URL != e.WebhookURL():
		return HookURL, "The hook leads to " + h.URL + ", where this server no longer is. Repair brings it to " + e.WebhookURL() + "."
	case h.AlertStatus == "disabled":
		return HookDisabled, "GitLab switched the hook off for good after failed deliveries. Mend what kept them from arriving, then test it: a test that arrives switches it on again."
	case h.AlertStatus == "temporarily_disabled":
		return HookDisabled, "GitLab switched the hook off for a while after failed deliveries. A test that arrives switches it on again."
	case !h.PushEvents || !h.TagPushEvents || !h.MergeRequestsEvents:
		return HookEvents, "The hook needs push, tag push, merge request and comment events. Repair sets them."
	case !h.NoteEvents:
		return HookEvents, "The hook does not deliver comments, so commands in comments on merge requests are not heard. Repair sets it to."
	case h.BranchFilter != "":
		return HookEvents, "The hook delivers pushes to branches like “" + h.BranchFilter + "” only. Repair takes the filter away."
	case t.Refused.After(t.Last) && t.Refused.After(row.WrittenAt):
		return HookSecret, "The newest delivery that says it is of this project had a wrong secret. Repair gives the hook the right one."
	case row.Signed && h.SigningTokenPresent:
		if row.Signs() {
			return HookOK, "push, tags, comments, merge requests; signed, and what comes unsigned is refused"
		}
		return HookOK, "push, tags, comments, merge requests; signed"
	default:
		return HookOK, "push, tags, comments, merge requests"
	}
}

// ours are the project's hooks that point at this server, exactly, because a partial match could be another's, and
// the one we made even if it points elsewhere now.
func (e *Engine) ours(all []gitlab.ProjectHook, made int64) []gitlab.ProjectHook {
	var ours []gitlab.ProjectHook
	for _, h := range all {
		if h.URL == e.WebhookURL() || made != 0 && h.ID == made {
			ours = append(ours, h)
		}
	}
	return ours
}

// signedSince is the first GitLab that signs deliveries.
const signedSince = 19

// Signs reports whether a GitLab of the version signs deliveries.
func Signs(version string) bool {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	return err == nil && n >= signedSince
}

// hookSpec is what a hook of ours has to be.
func (e *Engine) hookSpec(in store.Integration) gitlab.HookSpec {
	spec := gitlab.HookSpec{
		URL: e.WebhookURL(), Token: gitlab.Token(in.Secret.Reveal()), Name: "Groundcrew",
		Push: true, TagPush: true, MergeRequests: true, Notes: true,
		SSLVerification: strings.HasPrefix(e.WebhookURL(), "https://"),
	}
	if Signs(in.Health.Version) {
		spec.SigningToken = gitlab.Token(in.SigningSecret.Reveal())
	}
	return spec
}

func newSigningSecret() runs.Secret { return runs.Secret(gitlab.NewSigningToken().Reveal()) }

// withSigning gives an integration from before signed deliveries its signing secret.
func (e *Engine) withSigning() (store.Integration, error) {
	var in store.Integration
	err := e.st.View(func(tx *store.Tx) (err error) {
		in, _, err = tx.Integration()
		return err
	})
	if err != nil || !in.Linked {
		return in, errOr(err, errDetached)
	}
	if in.SigningSecret != "" {
		return in, nil
	}
	err = e.st.Update(func(tx *store.Tx) (err error) {
		if in, _, err = tx.Integration(); err != nil || in.SigningSecret != "" {
			return err
		}
		in.SigningSecret = newSigningSecret()
		return tx.PutIntegration(in)
	})
	return in, err
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// InstallHook makes the project's hook right: creates it, or gives the present one our address, events and secret, and
// removes doubles. That it is to be done is on disk first: what GitLab can't do now is done later (sendHook), and the error says so.
func (e *Engine) InstallHook(ctx context.Context, project int64, by string) (Hook, error) {
	in, err := e.withSigning()
	if err != nil {
		return Hook{}, err
	}
	err = e.st.Update(func(tx *store.Tx) error {
		if err := tx.ReportHook(project, true); err != nil {
			return err
		}
		return tx.Audit(store.AuditEntry{By: by, Action: "hook.install", Target: strconv.FormatInt(project, 10)})
	})
	if err != nil {
		return Hook{}, err
	}
	if err := e.deliverNow(ctx, in, store.HookTarget(project)); err != nil {
		return Hook{}, err
	}
	return e.installed(project)
}

// installed says what came of the last attempt to make a project's hook right.
func (e *Engine) installed(project int64) (h Hook, err error) {
	traffic, err := e.traffic()
	if err != nil {
		return h, err
	}
	var rep store.Report
	err = e.st.View(func(tx *store.Tx) error {
		if rep, _, err = tx.Report(store.HookTarget(project)); err != nil {
			return err
		}
		row, err := tx.Hook(project)
		if err != nil {
			return err
		}
		h, err = knownHook(tx, row, traffic[project])
		return err
	})
	switch {
	case err != nil:
		return h, err
	case rep.State == store.ReportParked:
		return h, runs.Conflictf("%s %s %s", sentence(rep.LastError), rep.Cause, rep.Mend)
	case rep.State == store.ReportWaiting:
		return h, runs.Conflictf("The repair waits: %s It is done by itself as soon as GitLab lets it.", sentence(rep.LastError))
	}
	return h, nil
}

// sendHook brings the project's hook to what it has to be, and looks at what came of it.
func (e *Engine) sendHook(ctx context.Context, c *gitlab.Client, r *store.Report) error {
	in, err := e.withSigning()
	if err != nil {
		return err
	}
	if err := e.writeHook(ctx, c, in, r.Project, r.Install); err != nil {
		return err
	}
	_, err = e.lookAtHook(ctx, c, r.Project)
	return err
}

// writeHook brings GitLab's hook of a project to what it has to be, and remembers that the present secret is there. With
// create false a project without our hook is left without one.
func (e *Engine) writeHook(ctx context.Context, c *gitlab.Client, in store.Integration, project int64, create bool) error {
	all, err := c.Hooks(ctx, project)
	if err != nil {
		return err
	}
	var row store.Hook
	err = e.st.View(func(tx *store.Tx) (err error) {
		row, err = tx.Hook(project)
		return err
	})
	if err != nil {
		return err
	}
	spec, ours := e.hookSpec(in), e.ours(all, row.ID)
	var written gitlab.ProjectHook
	switch {
	case len(ours) > 0:
		written, err = c.UpdateHook(ctx, project, ours[0].ID, spec)
	case create:
		written, err = c.CreateHook(ctx, project, spec)
	default:
		return e.hookWritten(project, in, written, spec)
	}
	if err != nil {
		return err
	}
	for _, double := range ours[min(1, len(ours)):] {
		if err := c.DeleteHook(ctx, project, double.ID); err != nil && gitlab.KindOf(err) != "not_found" {
			return err
		}
	}
	return e.hookWritten(project, in, written, spec)
}

// hookWritten remembers what GitLab took. A secret that was changed again meanwhile is still owed.
func (e *Engine) hookWritten(project int64, in store.Integration, h gitlab.ProjectHook, spec gitlab.HookSpec) error {
	return e.st.Update(func(tx *store.Tx) error {
		now, _, err := tx.Integration()
		if err != nil {
			return err
		}
		row, err := tx.Hook(project)
		if err != nil {
			return err
		}
		if now.Secret != in.Secret {
			return nil
		}
		row.Owed = false
		row.ID, row.Signed = h.ID, h.SigningTokenPresent && spec.SigningToken != ""
		if !row.Signed {
			row.SignedAt = time.Time{}
		}
		if h.ID != 0 {
			row.WrittenAt = tx.Now()
		}
		return tx.PutHook(row)
	})
}

// hookError says what to do about GitLab's terse refusals of hooks (GOTCHAS 43).
func hookError(err error) error {
	switch kind := gitlab.KindOf(err); {
	case kind == "forbidden":
		return runs.Conflictf("GitLab lets only Maintainers install hooks. Give the token's user the role Maintainer in the project, or enter the three values by hand.")
	case kind == "invalid" && strings.Contains(err.Error(), "url"):
		return runs.Conflictf("GitLab refuses the webhook address (%s). When this server is in a private network, a GitLab admin must allow it: Admin area › Settings › Network › Outbound requests.", err.Error())
	default:
		return gitlabError(err, "the project was not found, or the token's user may not see it")
	}
}

// RotateSecret makes new webhook secrets. The old ones stay valid for a grace period (Options.RotateGrace), in
// which our hooks are brought the new ones (sendHook) and hooks made by hand can be changed, so that no delivery is lost.
func (e *Engine) RotateSecret(by string) error {
	return e.st.Update(func(tx *store.Tx) error {
		in, ok, err := tx.Integration()
		if err != nil {
			return err
		}
		if !ok || !in.Linked {
			return errDetached
		}
		old := in
		in.OldSecret, in.OldSigningSecret, in.OldSecretUntil = in.Secret, in.SigningSecret, tx.Now().Add(e.o.RotateGrace)
		in.Secret, in.SigningSecret = runs.Secret(store.NewToken()), newSigningSecret()
		if err := tx.PutIntegration(in); err != nil {
			return err
		}
		stacks, err := tx.Sources()
		if err != nil {
			return err
		}
		for _, st := range stacks {
			row, err := tx.Hook(st.Project)
			if err != nil {
				return err
			}
			row.Owed = true
			if err := tx.PutHook(row); err != nil {
				return err
			}
			if err := tx.ReportHook(st.Project, false); err != nil {
				return err
			}
		}
		return auditIntegration(tx, by, "integration.rotate_secret", old, in)
	})
}

// HookProgress says how far the present secret has come: how many hooks of those projects have it still to get.
func HookProgress(tx *store.Tx, of func(project int64) bool) (owed int, err error) {
	all, err := tx.Hooks()
	for _, h := range all {
		if h.Owed && of(h.Project) {
			owed++
		}
	}
	return owed, err
}

// heardSigned remembers, once, that a project's hook signs what it delivers.
func (e *Engine) heardSigned(project int64) error {
	var row store.Hook
	err := e.st.View(func(tx *store.Tx) (err error) { row, err = tx.Hook(project); return err })
	if err != nil || !row.Signed || row.Signs() {
		return err
	}
	return e.st.Update(func(tx *store.Tx) error { return tx.HeardSigned(project) })
}
