package cachesvc

// failPoint does nothing. Tests put in its place what kills the process at the
// named step, to see what is lost and what counts twice.
var failPoint = func(string) {}
