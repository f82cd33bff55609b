#!/bin/sh
# What a CGI server takes the request's headers for.
cat >/dev/null
printf 'Content-Type: text/plain\r\n\r\n'
env
