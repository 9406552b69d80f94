package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// A gotcha is one of the known pitfalls of integrations with GitLab: the tests that walk into it, or why it can't
// touch us.
type gotcha struct {
	what  string
	tests string // names, with spaces between
	why   string // where no test walks into it, or what the tests leave open
}

// gotchas are numbered from 1 as in the list of pitfalls that comments in the code cite.
var gotchas = []gotcha{
	// Commit statuses.
	{"the same state again is refused", "TestPostsAreLegalWhateverWasMissed TestPostsSaysNothingTwice TestFaultsByMethodAndPath", ""},
	{"a refused call changes no text", "TestPostsAreLegalWhateverWasMissed TestRequestsOfARun", ""},
	{"after an end a new record begins", "TestPostsAreLegalWhateverWasMissed TestStatusHistoryAndReuseByUser", ""},
	{"jobs belong to a user", "TestANewBotEndsWhatTheOldOneBegan", ""},
	{"parallel posts of a commit are refused", "TestADayOfOutage TestOverlappingStatusesAreRefused", ""},
	{"without a ref the newest pipeline wins", "TestStatusKeepsToItsPipeline TestStatusChoosesPipeline", ""},
	{"a merge request's pipeline is missed by a branch's name", "TestStatusGoesOverToTheMergeRequestsPipeline", ""},
	{"merged results have a commit of their own", "TestStatusStandsInAMergedResultsPipeline", ""},
	{"the head pipeline may be an older commit's", "TestStatusStandsInAMergedResultsPipeline TestStatusGoesOverToTheMergeRequestsPipeline", ""},
	{"two merge requests share a commit", "TestTwoMergeRequestsOfOneCommit", ""},
	{"another integration's pipeline draws posts to it", "TestStatusKeepsToItsPipeline", ""},
	{"a fork's commit has no branch here", "TestForksAreHeldUntilTheirCommitIsReleased TestStatusOfForkCommit", ""},
	{"no status at all blocks the merge", "TestUntouchedMergeRequestsPass", ""},
	{"255 characters, refused and not cut", "TestDescriptionsFit TestStatusTextLimits", ""},
	{"links have to be http or https", "", "The link is the server's own address, which has to be http or https at its start; a refusal is parked with that mend."},
	{"names of CI jobs are taken", "TestRefusalsAreParkedWithWhatMendsThem", ""},
	{"the limit of jobs is final", "TestRefusalsAreParkedWithWhatMendsThem", ""},
	{"protected branches refuse developers", "TestRefusalsAreParkedWithWhatMendsThem TestStatusOnProtectedBranchNeedsMaintainer", ""},
	{"our status fails the whole pipeline", "", "That is what a failed plan is for; one name for each stack, or one for all, never two for one run."},
	{"201 and not 200", "TestCalls", ""},
	// Merge requests.
	{"merge_status lies", "", "Nothing reads merge_status: Groundcrew never asks whether a merge request can be merged, and never merges."},
	{"detailed_merge_status names one reason", "", "Nothing reads it, see before."},
	{"right after opening there is no diff", "TestIncompleteFileLists TestMergeRequestBeingPreparedIsLeftForLater TestMergeRequestIsPreparedAfterAMoment", ""},
	{"file lists are cut", "TestIncompleteFileLists", ""},
	{"merge refusals are odd", "", "Groundcrew never merges."},
	{"approvals differ by edition", "", "Approvals are Groundcrew's own; GitLab's are not read."},
	{"plain notes can't be resolved", "TestThreadsForDestroys TestCommandAnswersWhereItWasAsked", "The comment is a note and is not meant to be resolved; what has to be is a thread of its own."},
	{"a note's author has no bot flag", "TestFaultsByMethodAndPath TestCommandRights", "Our notes are known by the user's number and a marker; whether the author of a command is a bot is asked of the user."},
	{"a closed fork has no source", "TestReadHookMergeRequest TestReadHookReadsEveryPayload", ""},
	// Webhooks.
	{"many refs in one push send nothing", "TestPushOfManyCommitsAndRefs TestMissedEventsAreFound TestMissedPushesAreFound", ""},
	{"twenty commits at most", "TestIncompleteFileLists TestReadHookPush", ""},
	{"annotated tags have an id of their own", "TestEventsThatStartNothingSayWhy", ""},
	{"deleted branches are zeros", "TestEventsThatStartNothingSayWhy TestReadHookPush", ""},
	{"new branches have no before, forced pushes no mark", "TestReadHookPush TestPushThatMovesBackIsNotComplete", ""},
	{"updates fire for everything", "TestReadHookMergeRequest", ""},
	{"push and merge request hooks come in any order", "TestOneRunHoweverOftenToldOfACommit", ""},
	{"the target branch moves in silence", "TestOneBlockingRunPerStackAndTheBlockerIsNamed TestTargetBranchMovesSilently", ""},
	{"pushes to forks are not ours to hear", "TestForksAreHeldUntilTheirCommitIsReleased", ""},
	{"the secret is plain text", "TestAuthentic TestWebhookRefusesStrangers", ""},
	{"ten seconds and no second try", "TestMissedMergeRequestsAreFound TestMissedTagsAreFound TestWebhookStoresBeforeItAnswers TestFailedDeliveryIsNotRepeated", ""},
	{"deliveries come twice", "TestCommandOnce TestSameDeliveryOnce TestSameDeliveryAtOnce TestDeliveryKey", ""},
	{"a 4xx counts as failure", "TestWebhookTakesEveryKnownPayload TestHostileDeliveriesGetAnAnswerAndAVerdict", ""},
	{"private addresses are refused without detail", "TestHookSettings", "The refusal is answered with the page of GitLab's admin area to look at."},
	{"a hook's new address loses its secret", "TestCalls", "The secret goes with each change of a hook."},
	{"our own notes come back", "TestCommandForgedAndChanged TestCommandAnswersWhereItWasAsked", "They are known by our user's number and a hidden mark, and hold no command."},
	{"e-mail addresses are redacted", "", "People are never matched by e-mail address."},
	{"fields of payloads vanish", "TestReadHookReadsEveryPayload FuzzReadHook TestReadHookNote TestCommandRights", "No right is ever derived from a payload."},
	{"personal tokens die without a hook", "TestTokenBanner TestTokenEndIsToldOncePerStep TestTokenTroubles", "The token is asked about by the clock."},
	{"a project can have many hooks of one address", "TestSameDeliveryOnce", "Hooks are found by their whole address."},
	{"X-Gitlab-Instance leaves the path out", "", "It is not read: there is one GitLab, known by the secret."},
	// Tokens and permissions.
	{"no permission looks like not there", "TestFailures TestRefusalsAreParkedWithWhatMendsThem", "The words say both."},
	{"dead tokens have three bodies", "TestTokenTroubles TestTokenNotices TestErrorKinds TestFaultsByMethodAndPath", ""},
	{"expires_at is the first dead day", "TestTokens", ""},
	{"365 days at most", "TestTokenBanner", "The banner warns from thirty days on."},
	{"rotating without a date gives a week", "TestRotate", "Checked in the simulated GitLab; nothing is rotated without a date."},
	{"rotation kills the old token at once", "TestRotate", "Checked in the simulated GitLab; no call is ever repeated by the client."},
	{"created in the past", "", "Groundcrew creates no tokens in GitLab."},
	{"self rotation needs a scope", "TestRotate", ""},
	{"last_used_at is late", "", "It is not read: nothing depends on when a token was last used."},
	{"admin mode", "", "No call needs an administrator; a refusal is said in GitLab's words."},
	{"bots of projects see their project only", "TestMemberLevel", "What the token does not see is said to be absent or not visible."},
	{"routes of other editions", "", "Only routes of the free edition are called."},
	// Addresses, network, versions.
	{"paths are encoded once", "TestCalls", ""},
	{"proxies decode %2F", "", "After set-up only numeric ids are sent."},
	{"moved projects answer 301 and 405", "TestMovedProjectKeepsItsNumber TestMovedProjectRedirects TestS21RedirectsTakeNoTokenElsewhere", "After set-up only numeric ids are sent."},
	{"a redirected POST becomes a GET", "TestS21RedirectsTakeNoTokenElsewhere", ""},
	{"tokens follow redirects", "TestS21RedirectsTakeNoTokenElsewhere TestTokenTransports", ""},
	{"limits without headers", "TestThrottledGitLab TestFaultsByMethodAndPath", ""},
	{"the client library repeats POSTs", "TestFaultsByMethodAndPath TestRetryAfter", ""},
	{"five archives a minute", "TestArchivesAreAskedForFiveTimesAMinute TestThrottledGitLab TestSourceFetchesOnceForManyStacks", ""},
	{"archives lack things", "TestSourceGoesOnAfterAFetchThatBrokeOff", "Code comes over git."},
	{"sixty notes a minute", "TestCommentsAreWithinTheLimit", ""},
	{"totals vanish", "TestPaging", ""},
	{"unknown parameters widen lists", "TestTheWatcherSees TestCalls", "What a list answers is compared by name again."},
	{"a booting GitLab answers HTML", "TestFaultsByMethodAndPath TestAnswersThatAreNotGitLabs", ""},
	{"relative URL installs", "TestMergeRequestIsPlannedAndCommented TestGitLabAddresses", ""},
	{"private authorities", "TestTLS TestPrivateAuthority", ""},
	{"long and nested groups", "TestDeepGroups TestCalls", ""},
	{"empty repositories", "TestEmptyRepositoryIsAStackBeforeItsFirstPush TestEmptyRepository", ""},
	{"renamed default branches", "TestRenamedDefaultBranch", "A stack names its branch; a deployment of a branch that is gone takes the default branch asked for at that moment."},
	// Notes.
	{"a million characters", "TestTheLargestCommentFits", ""},
	{"quick actions", "TestS20HostileTextStaysText FuzzMarkdown TestCommandDiscardAndUnlock", ""},
	{"mentions", "TestS20HostileTextStaysText FuzzMarkdown TestCommandDiscardAndUnlock", ""},
	{"202 without a note", "TestCalls", ""},
	{"blank notes", "TestCommentsReadAsTheGoldenFiles", "A comment has a headline in every case."},
	// Environments, deployments, Terraform.
	{"names of environments", "TestEnvironmentNames", ""},
	{"deployments never go back to running", "TestDeploymentsAndEnvironments", ""},
	{"a deployment's ref must exist", "TestDeploymentOfABranchThatIsGone", ""},
	{"deployments of CI can't be changed", "", "Only deployments that we made are changed."},
	{"deletion needs a stop", "TestDeploymentsAndEnvironments", "Environments are stopped, never deleted."},
	{"state locks answer with the holder", "", "GitLab's state backend is not used."},
	// OAuth and OIDC: signing in with GitLab is not part of this program yet, so nothing speaks OAuth.
	{"refresh tokens are for once", "", "Nobody signs in with GitLab yet; the token in use is no OAuth token."},
	{"groups are in userinfo", "", "Nobody signs in with GitLab yet."},
	{"sub is unique per instance", "", "Nobody signs in with GitLab yet."},
	{"email is the public one", "", "Nobody signs in with GitLab yet."},
}

// TestGotchas holds each pitfall to a test that exists, or to a reason.
func TestGotchas(t *testing.T) {
	t.Parallel()
	if len(gotchas) != 95 {
		t.Errorf("%d pitfalls, want 95", len(gotchas))
	}
	known := testNames(t)
	tested := 0
	for i, g := range gotchas {
		names := strings.Fields(g.tests)
		if len(names) == 0 && len(g.why) < 20 {
			t.Errorf("%d (%s) has neither a test nor a reason", i+1, g.what)
		}
		for _, name := range names {
			if !known[name] {
				t.Errorf("%d (%s) names %s, which is no test", i+1, g.what, name)
			}
		}
		if len(names) > 0 {
			tested++
		}
	}
	t.Logf("%d of %d by tests, the others by reasons", tested, len(gotchas))
}

// testNames are the names of all tests and fuzz tests of the program.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				names[f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
