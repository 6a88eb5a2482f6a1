arg tag=3.20
from alpine:$tag as Build
Arg A=1
eNv B=$A
from build
label b=$B
copy --from=BUILD /etc/base /base
