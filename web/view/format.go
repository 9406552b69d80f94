package view

import "fmt"

// Count says n with the right form of a noun: "1 stack", "2 stacks".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
