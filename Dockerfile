# The image: one static binary, roots of trust, a data folder.
#   docker build -t extauthz .   compiles in Go's image (needs BuildKit, and a registry for that image)
#   make image                   the same, and where no registry answers with the binary compiled outside
# What is in it is laid out by scripts/image-root.sh in either case.
ARG GO_IMAGE=golang:1.26-bookworm

FROM scratch AS base
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="extauthz" \
      org.opencontainers.image.description="External authorization for Envoy by API keys" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
# Mount a configuration of your own over this file; values by environment win.
ENV PATH=/usr/bin EXTAUTHZ_CONFIG=/etc/extauthz/extauthz.yaml
EXPOSE 9001 9002 9090
# By number: Kubernetes' runAsNonRoot can't judge a name.
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["/usr/bin/extauthz", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/extauthz"]
CMD ["serve"]

# Laid out before, by scripts/image.sh. Archives, since COPY would give folders
# the time of the build: so the layers are the same bytes each time.
FROM base AS prebuilt
ARG TARGETARCH=amd64
ADD dist/image/$TARGETARCH/root.tar /
WORKDIR /var/lib/extauthz
VOLUME /var/lib/extauthz

FROM scratch AS prebuilt-echo
ARG TARGETARCH=amd64
ADD dist/image/$TARGETARCH/echo.tar /
USER 65532:65532
ENTRYPOINT ["/usr/bin/echo"]

FROM --platform=$BUILDPLATFORM $GO_IMAGE AS build
ARG TARGETARCH
ARG VERSION=dev
ARG SOURCE_DATE_EPOCH=0
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN VERSION=$VERSION SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH scripts/image-root.sh "$TARGETARCH" /out

# An upstream for trials.
FROM scratch AS echo
COPY --from=build /out/echo/ /
USER 65532:65532
ENTRYPOINT ["/usr/bin/echo"]

FROM base AS image
COPY --from=build /out/root/ /
COPY --from=build --chown=65532:65532 /out/data/ /var/lib/
WORKDIR /var/lib/extauthz
VOLUME /var/lib/extauthz
