# Groundcrew in a container: one static binary and OpenTofu, not root.
#   docker build -t groundcrew .
#   docker run -v groundcrew:/data -p 8080:8080 groundcrew --external-url https://groundcrew.example.com
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /groundcrew . \
 && CGO_ENABLED=0 go -C tools/tofu build -trimpath -ldflags "-s -w -X github.com/opentofu/opentofu/version.dev=no" -o /tofu github.com/opentofu/opentofu/cmd/tofu \
 && mkdir /empty

FROM debian:stable-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates git \
 && rm -rf /var/lib/apt/lists/* && useradd --uid 10001 --no-create-home groundcrew
COPY --from=build /groundcrew /tofu /usr/local/bin/
COPY --from=build --chown=groundcrew:groundcrew /empty /data
USER groundcrew
ENV GROUNDCREW_DATA_DIR=/data GROUNDCREW_LISTEN=:8080
VOLUME /data
EXPOSE 8080
HEALTHCHECK CMD ["/usr/local/bin/groundcrew", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/groundcrew"]
