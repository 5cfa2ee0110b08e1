import sys

sys._outside_script_ran = True
