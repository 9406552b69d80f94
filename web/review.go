package web

import (
	"slices"
	"time"

	"groundcrew/runs"
	"groundcrew/runs/engine"
	"groundcrew/store"
	"groundcrew/web/view"
)

// An approvalsJSON says what people said of what a run would do, where anybody is asked.
type approvalsJSON struct {
	Need       int          `json:"need"` // people other than the author
	Approved   bool         `json:"approved"`
	Text       string       `json:"text"` // in words, what is there and what is missing
	Approvals  []reviewJSON `json:"approvals"`
	Rejections []reviewJSON `json:"rejections"`
}

// A reviewJSON is what one person said.
type reviewJSON struct {
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	Note string    `json:"note"`
	Run  string    `json:"run"` // that was looked at
}

func reviewsOut(list []runs.Review) []reviewJSON {
	out := []reviewJSON{}
	for _, v := range list {
		out = append(out, reviewJSON{v.Name, v.At.UTC(), v.Note, v.Run})
	}
	return out
}

// fillApprovals adds the reviews of a run that waits, or those that opened its way.
func (s *Server) fillApprovals(q *engine.Queue, j *runJSON, r runs.Run) error {
	g, err := q.Gate(r)
	switch {
	case err != nil:
		return err
	case len(r.Reviews) > 0:
		g = runs.Gate{Need: len(r.Reviews), Approvals: r.Reviews}
	case !g.Asked() || r.Reviewable() != nil:
		return nil
	}
	j.Approvals = &approvalsJSON{Need: g.Need, Approved: g.Open(), Text: g.Text(), Approvals: reviewsOut(g.Approvals), Rejections: reviewsOut(g.Rejections)}
	return nil
}

// waitsFor says what a run that waits for people waits for.
func waitsFor(r runs.Run) string {
	if r.Unapproved {
		return "waits for approval"
	}
	return "waits for confirmation"
}

// A reviewInput may name the plan that was looked at.
type reviewInput struct {
	Fingerprint string `json:"fingerprint"`
	Note        string `json:"note"`
}

func (s *Server) apiApprove(c *request) error { return s.apiReview(c, runs.Approve) }
func (s *Server) apiReject(c *request) error  { return s.apiReview(c, runs.Reject) }

func (s *Server) apiReview(c *request, d runs.Decision) error {
	var in reviewInput
	if err := decode(c, &in); err != nil {
		return err
	}
	return s.answerRun(c, s.review(c, d, in))
}

func (s *Server) postApprove(c *request) error {
	return s.after(c, s.postedReview(c, runs.Approve), runPath(c), "Approved. It counts for every plan of this stack with the same effect, until one is applied.")
}

func (s *Server) postReject(c *request) error {
	return s.after(c, s.postedReview(c, runs.Reject), runPath(c), "Rejected. It cannot be applied until you approve it, or it is discarded.")
}

func (s *Server) postedReview(c *request, d runs.Decision) error {
	return s.review(c, d, reviewInput{Fingerprint: c.FormValue("fingerprint"), Note: c.FormValue("note")})
}

var errNobody = runs.Forbiddenf("A review is a person's, so that people can be told apart. Sign in, or use an API key that a person made.")

// review says what the one who asks says of what a run would do: of the plan with the fingerprint, or ("") of whatever stands there.
func (s *Server) review(c *request, d runs.Decision, in reviewInput) error {
	if !c.who.Person.Known() {
		return errNobody
	}
	r, err := s.run(c.Param("id"))
	if err != nil {
		return err
	}
	_, err = s.eng.Review(c.Request().Context(), r.ID, c.who.Person, c.who.Name, d, in.Note, in.Fingerprint)
	return err
}

// fillReviews says what people said of what a run would do, and whether the one who looks may say something.
func fillReviews(m *view.RunModel, who actor, g runs.Gate) {
	r := m.Run
	if len(r.Reviews) > 0 {
		m.Reviews = &view.ReviewsModel{Past: true, Approvals: r.Reviews}
		return
	}
	if !g.Asked() || r.Reviewable() != nil {
		return
	}
	v := &view.ReviewsModel{Need: g.Need, Open: g.Open(), Approvals: g.Approvals, Rejections: g.Rejections, Policies: g.Policies}
	v.Review = who.blocking().may(store.Writer, "approve or reject a run")
	if v.Review.Can && !who.Person.Known() {
		v.Review = view.Act{WhyNot: errNobody.Error()}
	}
	if v.Review.Can && r.Author.Is(who.Person) {
		v.Review.WhyNot = "You started this, so your approval does not count. You can reject it."
		v.Own = true
	}
	v.Approved = slices.ContainsFunc(g.Approvals, func(r runs.Review) bool { return r.Person.Is(who.Person) })
	m.Reviews = v
	if err := g.Err(); err != nil && m.Newer == nil && m.Confirm.Can {
		m.Confirm = view.Act{WhyNot: err.Error()}
	}
}
