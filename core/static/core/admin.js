// htmx would write a style of its own into each page and evaluate attributes; nothing here needs it.
htmx.config.includeIndicatorStyles = false;
htmx.config.allowEval = false;
