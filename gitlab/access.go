package gitlab

// Access levels in a project (CONTRACT §0.9). Between them lie others, which allow what the one below allows.
const (
	Reporter   = 20
	Developer  = 30
	Maintainer = 40
	Owner      = 50
)

// LevelName is what GitLab calls an access level, or the one below that has a name here.
func LevelName(level int) string {
	switch {
	case level >= Owner:
		return "Owner"
	case level >= Maintainer:
		return "Maintainer"
	case level >= Developer:
		return "Developer"
	case level >= Reporter:
		return "Reporter"
	default:
		return "Guest"
	}
}
