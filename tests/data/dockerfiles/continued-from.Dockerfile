ARG TA\
G=3.20
FROM \
  # the base
  alpi\
ne:${TAG} \
  AS \
  build
FROM build
LABEL tag=yes
