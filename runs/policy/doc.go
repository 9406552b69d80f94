// Package policy asks policies what they say. A policy is a text in Rego (version 1) of package groundcrew; this package compiles it,
// evaluates it against one JSON document, the input, bounded in time and memory and with nothing of the outside in reach, and says
// what several of a type come to together ([Judge]).
//
// # Rules
//
// Each type knows these rules; all others are helpers of the policy's own. A rule that collects messages is written
// `deny contains msg if { … }`; `deny := "text"` and `deny if { … }` are understood too.
//
//	push          ignore contains msg    it starts nothing
//	              track (true)           it starts a tracked run
//	              propose (true)         it starts a proposed run
//	plan          deny contains msg      what was planned must not be applied
//	              warn contains msg      a person must look first
//	approval      approve (true)         the run has the approvals it needs
//	              reject contains msg    it will never have them
//	trigger       trigger contains slug  this stack runs next
//	notification  mute (true)            nobody is told
//	              channel contains name  only these channels are told
//
// # Input
//
// Every input has run, stack and request.time; that of a plan has also the plan (see tofu.PolicyPlan) and its delta. There is no clock
// among the built-in functions, so that the same input always gets the same answer.
//
// # Errors
//
// A policy that cannot be evaluated — it is cut off, contradicts itself, divides by zero — is an error and never a silence. What follows
// of it depends on the type: nothing is applied and nothing approved, a push does what it would without the policy, no stack is
// triggered, and everybody is told.
package policy
