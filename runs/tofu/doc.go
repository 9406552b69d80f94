// Package tofu knows how OpenTofu, Terraform and custom tools are called and what they answer. It runs nothing
// itself but `version`: it says which commands to run (work.go, commands.go), finds and chooses the binaries
// (binary.go), and reads plans (plan.go, diff.go), states (state.go) and error messages (log.go).
package tofu
