// Package test holds the tests that run the real program against real peers:
// mail in and out, moves from other servers, and what a kill leaves behind.
package test
