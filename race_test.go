//go:build race

package main

// A program with the race detector takes several times the memory, shims and sandboxes too.
const heavier = 4
