package runs

import "cmp"

// stepTest covers what is different in the life of a module's test: it applies on a state of its own without asking, and
// whatever came of that, what it made is destroyed in a second job before the run ends:
//
//	queued → preparing → initializing → planning → applying → destroying → finished | failed | stopped
//	                                  → performing (test files, which the tool cleans up itself) → finished | failed
//
// done is false for the pairs that are as for every run.
func stepTest(r Run, ev Event) (_ Run, _ []Effect, done bool, _ error) {
	var eff []Effect
	var err error
	switch e := ev.(type) {
	case PhaseStarted:
		r, eff, done, err = testStarted(r, e)
	case Claimed:
		done = r.State == Destroying // it was destroying before a worker took the job
	case Done:
		done = r.State == Applying || r.State == Performing || r.State == Destroying
		r, eff, err = testDone(r, e)
	case Fail:
		done = r.State.Working()
		r, eff, err = testFailed(r, e)
	case Halted:
		done = r.State == Applying || r.State == Destroying
		r, eff, err = testHalted(r, e)
	case Lost:
		done = r.State == Applying || r.State == Destroying || r.State == Performing
		r, eff, err = testLost(r, e)
	}
	return r, eff, done, err
}

func testStarted(r Run, e PhaseStarted) (Run, []Effect, bool, error) {
	switch {
	case r.State == Initializing && e.State == Performing, r.State == Planning && e.State == Applying:
		n, eff, err := move(r, e.State, e.Meta)
		return n, eff, true, err
	case r.State == Destroying && e.State == Destroying:
		return r, nil, true, nil
	default:
		return r, nil, false, nil
	}
}

func testDone(r Run, e Done) (Run, []Effect, error) {
	r = withResults(r, e.Results)
	switch r.State {
	case Applying:
		if testOf(r).Case.Negative {
			return cleanUp(r, Failed, "It was to fail and did not: plan and apply went well.", e.Meta)
		}
		return cleanUp(r, Finished, "", e.Meta)
	case Performing:
		return end(r, Finished, e.Meta)
	case Destroying:
		return conclude(r, e.Meta)
	default:
		return r, nil, nil
	}
}

func testFailed(r Run, e Fail) (Run, []Effect, error) {
	wanted := e.Tool && testOf(r).Case.Negative
	r = withResults(r, e.Results)
	switch {
	case r.State == Applying && wanted:
		return cleanUp(r, Finished, "It failed, as it should: "+e.Note, e.Meta)
	case r.State == Applying:
		return cleanUp(r, Failed, e.Note, e.Meta)
	case r.State == Planning && wanted:
		e.Note = "It failed, as it should: " + e.Note
		return end(r, Finished, e.Meta)
	case r.State == Destroying:
		return leftover(r, e.Meta, e.Note)
	default:
		return end(r, Failed, e.Meta)
	}
}

func testHalted(r Run, e Halted) (Run, []Effect, error) {
	switch {
	case r.State == Destroying:
		return leftover(r, e.Meta, cmp.Or(e.Note, r.Reason, "it was stopped"))
	case r.StopAsked == "":
		return cleanUp(r, Failed, cmp.Or(e.Note, "The process ended without having been asked to."), e.Meta)
	default:
		e.By = r.StopAsked
		return cleanUp(r, Stopped, cmp.Or(r.Reason, e.Note), e.Meta)
	}
}

// testLost goes on after a crash: what an apply made is destroyed, a destroy is tried again.
func testLost(r Run, e Lost) (Run, []Effect, error) {
	switch {
	case r.State == Applying:
		return cleanUp(r, Failed, e.Note, e.Meta)
	case r.State == Destroying && r.Losses < MaxLosses:
		r.Losses++
		r.Attempt++ // a fresh folder for the job
		return move(r, Destroying, e.Meta, Enqueue{PhaseDestroy})
	case r.State == Destroying:
		return leftover(r, e.Meta, e.Note)
	default: // the state of test files is in the memory of the tool, which is gone
		r.Test = leaves(r)
		return end(r, Failed, e.Meta)
	}
}

// cleanUp notes what came of the test and has destroyed what it made.
func cleanUp(r Run, outcome State, why string, m Meta) (Run, []Effect, error) {
	t := testOf(r)
	t.Outcome, t.Why, t.EndedBy = outcome, why, m.By
	r.Test = &t
	r.StopAsked, r.Losses = "", 0
	m.By, m.Note = "", why
	return move(r, Destroying, m, Enqueue{PhaseDestroy})
}

// conclude ends a test that left nothing behind as its outcome says.
func conclude(r Run, m Meta) (Run, []Effect, error) {
	t := testOf(r)
	m.By, m.Note = t.EndedBy, t.Why
	return end(r, cmp.Or(t.Outcome, Failed), m)
}

// leftover ends a test whose clean-up failed: that is worse than any outcome.
func leftover(r Run, m Meta, why string) (Run, []Effect, error) {
	m.Note = "What the test made could not be destroyed and may still be there: " + why
	if t := testOf(r); t.Why != "" {
		m.Note += " (The test itself: " + t.Why + ")"
	}
	r.Test = leaves(r)
	return end(r, Failed, m)
}

func leaves(r Run) *RunTest {
	t := testOf(r)
	t.Leftover = true
	return &t
}

func withResults(r Run, results []TestResult) Run {
	if len(results) > 0 {
		t := testOf(r)
		t.Results = results
		r.Test = &t
	}
	return r
}

func testOf(r Run) RunTest {
	if r.Test == nil {
		return RunTest{}
	}
	return *r.Test
}

// testStatus says what GitLab's commit status of a test case must show now; ok is false for what is as for every run.
func testStatus(r Run) (CommitState, string, bool) {
	switch r.State {
	case Preparing, Initializing, Planning, Performing:
		return StatusRunning, "Testing", true
	case Applying:
		return StatusRunning, "Testing: applying", true
	case Destroying:
		return StatusRunning, "Testing: destroying what was made", true
	case Finished:
		return StatusSuccess, describe("Passed", r.Reason), true
	default:
		return "", "", false
	}
}
