<?php // What PHP takes the request's headers for.
header('Content-Type: text/plain');
foreach ($_SERVER as $name => $value) {
    if (is_string($value)) echo "$name=$value\n";
}
