//go:build !linux

package main

import (
	"errors"
	"runtime"
	"time"
)

var errNotHere = errors.New("processes can be measured on Linux alone")

func cpuTime(int) (time.Duration, error) { return 0, errNotHere }

func resident(int) (float64, error) { return 0, errNotHere }

func onDisk(string) error { return errNotHere }

func machine() string { return runtime.GOOS }
