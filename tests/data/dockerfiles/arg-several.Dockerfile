ARG A=alpine B C="3.20"
FROM $A:$C
ARG B D=4 A=x C
LABEL a=$A b=$B c=$C d=$D
