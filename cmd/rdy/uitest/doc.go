// Package uitest tests the page of "rdy ui" in a browser, with real nsqds. It needs
// chromium-headless-shell, which Debian's package of this name has, in the PATH.
package uitest
