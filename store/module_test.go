package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"groundcrew/runs"
)

func aModule() runs.Module {
	return runs.Module{Name: "vpc", Provider: "aws", Namespace: "platform", Project: 7, ProjectPath: "platform/terraform-aws-vpc", Branch: "main", Release: runs.ReleaseByTag, Tool: runs.Terraform}
}

func addModule(t *testing.T, s *Store, edit func(*runs.Module)) (m runs.Module) {
	t.Helper()
	m = aModule()
	if edit != nil {
		edit(&m)
	}
	update(t, s, func(tx *Tx) (err error) { m, err = tx.AddModule(m); return err })
	return m
}

func TestModulesHaveOneAddressEach(t *testing.T) {
	s := open(t, quick)
	first := addModule(t, s, nil)
	other := addModule(t, s, func(m *runs.Module) { m.Provider = "azurerm" })
	third := addModule(t, s, func(m *runs.Module) { m.Namespace = "edge" })
	if first.Slug != "vpc" || other.Slug != "vpc-azurerm" || third.Slug != "vpc-aws" {
		t.Errorf("slugs %s, %s, %s", first.Slug, other.Slug, third.Slug)
	}
	if first.UpdatedAt.IsZero() || !first.UpdatedAt.Equal(first.CreatedAt) {
		t.Errorf("made at %v, changed at %v", first.CreatedAt, first.UpdatedAt)
	}
	again := aModule()
	again.Name = "VPC"
	err := s.Update(func(tx *Tx) error { _, err := tx.AddModule(again); return err })
	if !errors.Is(err, runs.ErrConflict) {
		t.Errorf("a taken address: %v", err)
	}
	other.Provider = "aws"
	if err := s.Update(func(tx *Tx) error { return tx.PutModule(other) }); !errors.Is(err, runs.ErrConflict) {
		t.Errorf("changed to a taken address: %v", err)
	}
	other.Provider, other.Project = "google", 8
	update(t, s, func(tx *Tx) error { return tx.PutModule(other) })
	view(t, s, func(tx *Tx) error {
		seven, err := tx.ModulesOf(7)
		eight, err2 := tx.ModulesOf(8)
		if len(seven) != 2 || len(eight) != 1 {
			t.Errorf("modules of 7: %v, of 8: %v", seven, eight)
		}
		return errors.Join(err, err2)
	})
}

// What was usable once never becomes something else, whoever asks.
func TestAUsableVersionNeverChanges(t *testing.T) {
	s := open(t, quick)
	addModule(t, s, nil)
	good := runs.ModuleVersion{Module: "vpc", Number: "1.0.0", State: runs.VersionActive, Digest: "d1", Commit: runs.Commit{SHA: "abc"}}
	update(t, s, func(tx *Tx) error { return tx.PutModuleVersion(good) })
	for name, edit := range map[string]func(*runs.ModuleVersion){
		"another commit":  func(v *runs.ModuleVersion) { v.Commit.SHA = "def" },
		"another archive": func(v *runs.ModuleVersion) { v.Digest = "d2" },
		"failed":          func(v *runs.ModuleVersion) { v.State = runs.VersionFailed },
	} {
		v := good
		edit(&v)
		if err := s.Update(func(tx *Tx) error { return tx.PutModuleVersion(v) }); !errors.Is(err, runs.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good.YankNote = "leaks"
	update(t, s, func(tx *Tx) error { return tx.PutModuleVersion(good) })
}

func TestDeleteModule(t *testing.T) {
	s := open(t, quick)
	m := addModule(t, s, nil)
	keep := addModule(t, s, func(m *runs.Module) { m.Name = "vpc2" })
	update(t, s, func(tx *Tx) error {
		for _, slug := range []string{m.Slug, keep.Slug} {
			err := errors.Join(tx.PutModuleVersion(runs.ModuleVersion{Module: slug, Number: "1.0.0"}),
				tx.PutCheck(runs.Check{ID: tx.NewID(), Module: slug, Project: 7, State: runs.CheckTesting, Commit: runs.Commit{SHA: "abc"}}),
				tx.PutVariable("@"+slug, runs.Variable{Name: "A", Value: "1"}),
				tx.PutModuleUses("network", []runs.ModuleUse{{Module: slug, Stack: "network", Version: "1.0.0"}}))
			if err != nil {
				return err
			}
		}
		return nil
	})
	r := request(t, s, m.Scope(), runs.Test, "abc", func(r *runs.Run) { r.Test = &runs.RunTest{Module: m.Slug} })
	apply(t, s, r.ID, runs.Claimed{})
	remove := func() error { return s.Update(func(tx *Tx) error { return tx.DeleteModule(m.Slug) }) }
	if err := remove(); !errors.Is(err, runs.ErrConflict) {
		t.Errorf("with a test at work: %v", err)
	}
	apply(t, s, r.ID, runs.Fail{})
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	for bucket, rows := range dump(t, s) {
		for key := range rows {
			if strings.HasPrefix(key, m.Slug+"/") || strings.HasPrefix(key, m.Scope()+"/") && bucket != "stack_runs" && bucket != "latest" {
				t.Errorf("%s/%s was left", bucket, key)
			}
		}
	}
	view(t, s, func(tx *Tx) error {
		open, err := tx.OpenChecks()
		if len(open) != 1 || open[0].Module != keep.Slug {
			t.Errorf("open checks %+v", open)
		}
		return err
	})
}

func TestTickets(t *testing.T) {
	s := open(t, quick)
	ticket := s.Ticket("run", "01ABC")
	if what, ok := s.ReadTicket("run", ticket); !ok || what != "01ABC" {
		t.Errorf("%q %v", what, ok)
	}
	for _, bad := range []string{"", ticket[:len(ticket)-1], "x" + ticket[1:], strings.Repeat("a", 2000), "01ABC"} {
		if what, ok := s.ReadTicket("run", bad); ok {
			t.Errorf("%q was read as %q", bad, what)
		}
	}
	if _, ok := s.ReadTicket("archive", ticket); ok {
		t.Error("a ticket for one thing was good for another")
	}
	if _, ok := open(t, quick).ReadTicket("run", ticket); ok {
		t.Error("a ticket of another installation was good")
	}
}

// Old checks that made no version go, and nothing else does.
func TestPruneChecks(t *testing.T) {
	s := open(t, quick)
	m := addModule(t, s, nil)
	old := time.Now().AddDate(-1, 0, 0)
	update(t, s, func(tx *Tx) error {
		for i := range KeepChecks + 5 {
			c := runs.Check{ID: tx.NewID(), Module: m.Slug, Project: 7, Commit: runs.Commit{SHA: fmt.Sprint(i)}, State: runs.CheckPassed, EndedAt: old}
			if i == 0 {
				c.Version = "1.0.0"
			}
			if i == 1 {
				c.State = runs.CheckTesting
			}
			if err := tx.PutCheck(c); err != nil {
				return err
			}
		}
		return nil
	})
	update(t, s, func(tx *Tx) error {
		gone, err := tx.PruneChecks(m.Slug, time.Now())
		left, _, err2 := tx.Checks(m.Slug, "", 1000)
		if len(gone) != 3 || len(left) != KeepChecks+2 || gone[0].Commit.SHA != "4" {
			t.Errorf("%d gone, %d left", len(gone), len(left))
		}
		return errors.Join(err, err2)
	})
}
