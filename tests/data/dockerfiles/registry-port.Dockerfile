ARG REGISTRY=registry.example:5000
FROM $REGISTRY/team/alpine AS one
FROM ${REGISTRY}/team/sub/alpine:3.20
COPY --from=localhost:5001/x:1 /etc/base /x
