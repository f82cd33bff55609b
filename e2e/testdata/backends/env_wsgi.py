"""What a WSGI server takes the request's headers for."""


def application(environ, start_response):
    environ["wsgi.input"].read()
    lines = "".join(f"{name}={value}\n" for name, value in environ.items() if isinstance(value, str))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [lines.encode("latin-1", "replace")]
