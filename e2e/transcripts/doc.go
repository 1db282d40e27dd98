// Package transcripts proves that package nsqtest behaves as NSQ 1.3.0 does. It
// has only tests. They play scripts on the wire with the fake and with the real
// daemons, and compare what the clients receive and what the daemons' state is
// after each step.
//
// The package is part of module e2e because that module has the real daemons, and
// go.work has that module; it is a package of its own because nothing here is killed
// or restarted, so that the daemons can run inside the test.
//
// # Scripts
//
// The scripts are in testdata. A script begins with "== name". Lines such as
// "config: limits" and "differs: item" may follow: the daemons' options, and the item of
// the list in nsqtest's documentation that explains why the transcripts differ. Each
// further line is a step. A step of a client begins with the client's name, a small
// letter; its first step connects it.
//
//	a SUB t1 c              a command; $m stands for the ID of the message "m"
//	a PUB t1 m              one with a body
//	a MPUB t1 m n 100*x     one with several; 100*x is a body of 100 bytes
//	a raw "PUB t1\n" 4*x    send these bytes
//	a dial                  connect without the magic
//	a plain                 do not start TLS or compression though nsqd grants it
//	a half                  close the client's direction of the connection
//	a close                 close the connection
//	a await                 wait for one more frame
//	publish t1 m n          publish messages without a connection
//	pause t1 c              likewise unpause, empty, create and delete
//	restart                 stop nsqd and start it again with its data
//	wait 300ms
//
// Topics are called t1 and t2. At the end each client that is still connected sends an
// unknown command, to which nsqd replies with an error after all that it has sent before.
//
// The fake plays first, in virtual time. Its transcript tells how long to wait for the
// real nsqd after each step: until the same number of frames has arrived and the state is
// the same. What is different after a long wait is a difference.
package transcripts
