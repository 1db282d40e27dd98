// Package uitest tests the page of "rdy ui" in a browser, with real nsqds. It needs Linux and
// chromium-headless-shell, which Debian's package of this name has.
//
// "go test -run TestShots -shots DIRECTORY" takes screenshots of all pages and states instead, to be
// looked at. With -shots-readme it takes those of the README alone.
//
// testdata has axe-core 4.14.1 (npm axe-core), which finds what is not accessible. It is
// unchanged, and under the MPL 2.0 in axe.LICENSE.txt. Nothing but these tests uses it.
package uitest
