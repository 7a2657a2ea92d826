// Package house holds the rules of the house as tests: which package may
// import which, that packages say what they are, and what servers may not do.
package house
