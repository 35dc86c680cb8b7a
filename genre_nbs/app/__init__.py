"The programs: the command line and what it carries out. May import everything; nothing imports it."
