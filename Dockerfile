# The fan-out node: one static binary in an image that holds nothing else, run by
# nobody in particular. e2e/aws builds it with the same command, and starts it
# alone in an empty file system.
#
# The tag is pinned to a patch version of Go and a release of Debian, not to a
# digest: none could be looked up where this was written. To add it, put what
# docker buildx imagetools inspect golang:1.26.8-trixie shows behind the tag, as
# @sha256:…. go.sum pins every module, and the build is reproducible: the same Go
# makes the same bytes in any image, so a doubtful image can be found out.
FROM --platform=$BUILDPLATFORM golang:1.26.8-trixie AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY clients/go/go.mod clients/go/
RUN go mod download
COPY . .
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=linux GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags "-s -w -buildid=" -o /out/fanout ./fanout

FROM scratch
# Redis over TLS and AWS are checked against these.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/fanout /fanout
USER 65532:65532
# The operations address is for the balancer's health checks and for metrics: the
# security group must let nobody else reach it.
ENV FLEETWIRE_LISTEN=:8080 FLEETWIRE_OPS=:8081 FLEETWIRE_LOG_FORMAT=json
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["/fanout", "healthcheck"]
ENTRYPOINT ["/fanout"]
