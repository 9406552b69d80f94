package engine

import (
	"errors"
	"strings"

	"groundcrew/gitlab"
	"groundcrew/store"
)

// A knownRefusal is one of GitLab's knownRefusals of a kind of report, with its likely cause and what mends it.
type knownRefusal struct {
	report string // kind of report, "" for all
	status int    // of HTTP
	says   string // part of GitLab's words in lower case, "" for all
	cause  string
	mend   string
}

const tryAgain = " Then try again here."

// knownRefusals are looked through in order; the first that fits speaks. GitLab's own words are shown beside them.
var knownRefusals = []knownRefusal{
	{
		"status", 400, "has already been taken", "A CI job of the same pipeline has the same name (GitLab keeps one job of a name).",
		"Rename that job in .gitlab-ci.yml, or give Groundcrew another prefix under VCS providers.",
	},
	{
		"status", 400, "target_url", "GitLab does not take this server's address as the link of a status.",
		"Start Groundcrew with a short http or https address as --external-url.",
	},
	{
		"status", 422, "jobs has exceeded", "The commit's pipeline has as many jobs as GitLab allows.",
		"Let a GitLab admin raise the limit of jobs in a pipeline (Admin area › Settings › CI/CD), or switch aggregated statuses on under VCS providers.",
	},
	{
		"status", 403, "", "The branch is protected and the token's user may not push or merge there, or the user is below Developer, or the project is archived.",
		"Make the token's user a Maintainer of the project, or allow it to push or merge under Settings › Repository › Protected branches.",
	},
	{
		"status", 404, "references for commit", "The commit is on no branch of the project any more, as after a forced push or when a fork is gone.",
		"Nothing needs to be mended unless the commit is pushed again.",
	},
	{
		"status", 404, "commit", "The commit is not in the project any more, as after a forced push.",
		"Nothing needs to be mended unless the commit is pushed again.",
	},
	{
		"note", 403, "", "The discussion of the merge request is locked, or the token's user is below Reporter.",
		"Unlock the discussion, or give the token's user the role Developer in the project.",
	},
	{
		"note", 404, "", "The merge request or the project was deleted, or the token's user is no member of the project any more.",
		"Add the token's user to the project as Developer, if it still is there.",
	},
	{
		"reply", 403, "", "The discussion of the merge request is locked, or the token's user is below Reporter.",
		"Unlock the discussion, or give the token's user the role Developer in the project.",
	},
	{
		"reply", 404, "", "The merge request or the project was deleted, or the token's user is no member of the project any more.",
		"Add the token's user to the project as Developer, if it still is there.",
	},
	{
		"thread", 403, "", "The discussion of the merge request is locked, or the token's user is below Developer.",
		"Unlock the discussion, or give the token's user the role Developer in the project.",
	},
	{
		"thread", 404, "", "The merge request or the project was deleted, or the token's user is no member of the project any more.",
		"Add the token's user to the project as Developer, if it still is there.",
	},
	{
		"deployment", 400, "branch or tag", "Neither the stack's branch nor the project's default branch is in GitLab.",
		"Set the stack's branch to one that exists.",
	},
	{
		"deployment", 400, "commit", "The commit is not in the project any more, as after a forced push.",
		"Nothing needs to be mended: the next deployment shows.",
	},
	{
		"deployment", 403, "", "The environment is protected and the token's user is not among those allowed to deploy, or the user is below Developer, or GitLab's own CI made the deployment.",
		"Add the token's user under Settings › CI/CD › Protected environments › Allowed to deploy, or give it the role Developer.",
	},
	{
		"environment", 403, "", "The environment is protected and the token's user is not among those allowed to deploy, or the user is below Developer.",
		"Add the token's user under Settings › CI/CD › Protected environments › Allowed to deploy, or give it the role Developer.",
	},
	{
		"environment", 400, "name", "GitLab does not take the environment's name: letters, digits, spaces and -_/${}. are allowed, up to 255.",
		"Choose a prefix of such characters under VCS providers.",
	},
	{
		"environment", 400, "external_url", "GitLab does not take this server's address as the link of an environment.",
		"Start Groundcrew with an http or https address as --external-url.",
	},
	{
		"hook", 403, "", "GitLab lets only Maintainers install hooks.",
		"Give the token's user the role Maintainer in the project, or enter the three values by hand.",
	},
	{
		"hook", 422, "url", "GitLab refuses the webhook address. When this server is in a private network, a GitLab admin must allow it.",
		"Admin area › Settings › Network › Outbound requests: allow requests to the local network from webhooks, or this server's address.",
	},
	{
		"hook", 422, "", "GitLab takes no such hook, or the project has as many as it may have.",
		"Look at the project's Settings › Webhooks.",
	},
	{
		"", 404, "", "The project was deleted, its CI/CD features are switched off, or the token's user is no member of it any more (GitLab answers the same to all of these).",
		"Add the token's user to the project as Maintainer, or switch Environments and CI/CD on under Settings › General › Visibility.",
	},
	{
		"", 403, "", "The token's user has too low a role in the project, or the project is archived.",
		"Make the token's user a Maintainer of the project.",
	},
	{"", 413, "", "A proxy between here and GitLab refuses requests of this size.", "Let the proxy pass bodies of one megabyte."},
}

// whyRefused says the likely cause of a failed send and what a person can do; both are "" for what passes by itself.
func whyRefused(r store.Report, err error) (cause, mend string) {
	g, ok := errors.AsType[*gitlab.Error](err)
	switch {
	case !ok:
		return "", ""
	case g.Kind.TokenTrouble():
		return "GitLab does not accept the token for this.", "Set a new token with the scope api under VCS providers; what waits is sent then."
	case g.Kind == gitlab.KindRedirect:
		return "GitLab has moved to another address.", "Set the API host URL under VCS providers to where GitLab is now; what waits is sent then."
	case g.Kind == gitlab.KindTLS:
		return "GitLab's certificate is not trusted here.", "Add the CA certificate that signed it under VCS providers; what waits is sent then."
	case g.Kind.Temporary():
		return "", ""
	}
	words := strings.ToLower(g.Message)
	for _, f := range knownRefusals {
		if (f.report == "" || f.report == r.Kind) && f.status == g.Status && strings.Contains(words, f.says) {
			return f.cause, f.mend + tryAgain
		}
	}
	return "GitLab takes the request for wrong.", "Read GitLab's words." + tryAgain
}
