package policy

import "groundcrew/runs"

// starters are texts to begin with.
var starters = map[runs.PolicyType]string{
	runs.PolicyPush: `package groundcrew

# Nothing runs when only documents changed.
ignore contains "only documents changed" if {
	count(input.push.files) > 0
	every file in input.push.files {
		endswith(file, ".md")
	}
}
`,
	runs.PolicyPlan: `package groundcrew

# No plan destroys a database.
deny contains msg if {
	some rc in input.plan.resource_changes
	"delete" in rc.change.actions
	rc.type == "aws_db_instance"
	msg := sprintf("%s would be destroyed", [rc.address])
}

# A person looks at every plan that destroys much.
warn contains msg if {
	input.delta.destroy > 5
	msg := sprintf("%d resources would be destroyed", [input.delta.destroy])
}
`,
	runs.PolicyApproval: `package groundcrew

# Two people say yes, and none says no.
approve if {
	count(input.reviews.approvals) >= 2
	count(input.reviews.rejections) == 0
}

reject contains msg if {
	some review in input.reviews.rejections
	msg := sprintf("%s rejected it", [review.by])
}
`,
	runs.PolicyTrigger: `package groundcrew

# After a stack was applied, those labelled after:<its address> run.
trigger contains stack.slug if {
	input.run.type == "tracked"
	input.run.state == "finished"
	some stack in input.stacks
	sprintf("after:%s", [input.stack.slug]) in stack.labels
}
`,
	runs.PolicyNotification: `package groundcrew

# Nobody is told of stacks that people play with.
mute if "sandbox" in input.stack.labels

# What fails in production is told to the people on call.
channel contains "on-call" if {
	input.event.topic == "run.failed"
	"prod" in input.stack.labels
}
`,
}

// Starter is a text of the type to begin with: it compiles, and does something sensible.
func Starter(t runs.PolicyType) string { return starters[t] }
