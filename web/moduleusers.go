package web

import (
	"errors"

	"groundcrew/runs"
	"groundcrew/store"
)

// usesOf are the stacks that use a module, as far as somebody may see them.
func usesOf(tx *store.Tx, module string, reads func(project int64) bool) ([]runs.ModuleUse, error) {
	all, err := tx.ModuleUses(module)
	var out []runs.ModuleUse
	for _, u := range all {
		st, err := tx.Stack(u.Stack)
		if err == nil && reads(st.Project) {
			out = append(out, u)
		} else if err != nil && !errors.Is(err, runs.ErrNotFound) {
			return nil, err
		}
	}
	return out, err
}

// startUsers asks for runs of the stacks that use an older version of a module: of those, for a person from GitLab, in whose
// projects they are a Maintainer at this moment. The route asked about the module's own project only.
func (s *Server) startUsers(c *request, version string) ([]runs.Run, []string, error) {
	may := map[string]bool{}
	if c.who.restricted() {
		var uses []runs.ModuleUse
		projects := map[string]int64{}
		err := s.st.View(func(tx *store.Tx) (err error) {
			uses, err = usesOf(tx, c.Param("name"), func(int64) bool { return true })
			for _, u := range uses {
				if err != nil {
					break
				}
				var st runs.Stack
				st, err = tx.Stack(u.Stack)
				projects[u.Stack] = st.Project
			}
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		levels := map[int64]int{}
		for stack, p := range projects {
			if _, asked := levels[p]; !asked {
				if levels[p], err = s.ask(c.Request().Context(), askedKey{c.who.GitLab, p}, true); err != nil {
					return nil, nil, err
				}
			}
			may[stack] = levels[p] >= levelMaintainer
		}
	}
	return s.eng.StartUsers(c.Request().Context(), c.Param("name"), version, c.who.Name, c.who.trigger(), func(stack string) bool {
		return !c.who.restricted() || may[stack]
	})
}
