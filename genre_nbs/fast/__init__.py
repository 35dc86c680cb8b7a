"The same results, sooner: nothing here changes what a network or a feature computes, and nothing knows a lesson."
