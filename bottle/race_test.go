//go:build race

package bottle

// The race detector makes each day several times as long.
const fewer = 10
