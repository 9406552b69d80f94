package runs

import (
	"fmt"
	"strconv"
	"strings"
)

// A Room says how much room the disk of the data folder has, and how much runs need to begin.
type Room struct {
	Free  int64 // bytes
	Least int64 // bytes; below it no run begins. 0 or [Off] = runs always begin
}

const (
	littleFactor = 5         // so many times the least is little already
	littleAlways = 256 << 20 // and so is this, where runs always begin
)

// Short reports whether there is so little room that no run begins.
func (r Room) Short() bool { return r.Least > 0 && r.Free < r.Least }

// Little reports whether people should make room.
func (r Room) Little() bool {
	switch r.Least {
	case 0:
		return false
	case Off:
		return r.Free < littleAlways
	default:
		return r.Free < littleFactor*r.Least
	}
}

// Words say how it is, what follows and what to do; "" when there is room enough.
func (r Room) Words() string {
	const flag = "--min-free, also under Settings › System"
	switch {
	case r.Short():
		return fmt.Sprintf("The disk of the data folder has %s left, so no run begins until it has %s (%s). Make room on it. Runs at work go on, and what waits begins by itself.", RoughSize(r.Free), SizeText(r.Least), flag)
	case r.Little() && r.Least > 0:
		return fmt.Sprintf("The disk of the data folder has %s left. Make room on it: below %s no run begins (%s).", RoughSize(r.Free), SizeText(r.Least), flag)
	case r.Little():
		return fmt.Sprintf("The disk of the data folder has %s left. Make room on it, before something can't be stored.", RoughSize(r.Free))
	default:
		return ""
	}
}

// RoughSize writes a number of bytes for people, with one digit behind the point.
func RoughSize(n int64) string {
	for _, u := range sizeUnits {
		if len(u.name) == 3 && n >= u.size {
			return strings.TrimSuffix(strconv.FormatFloat(float64(n)/float64(u.size), 'f', 1, 64), ".0") + " " + u.name
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
