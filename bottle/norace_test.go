//go:build !race

package bottle

const fewer = 1
