"""Texts that have broken somebody's program: for bodies, filters, cursors, headers and paths."""

SQL = [
    "'",
    "''",
    '"',
    "' OR '1'='1",
    "' OR 1=1 --",
    "') OR ('1'='1",
    "1; DROP TABLE orders_order; --",
    "1' UNION SELECT username, password FROM core_user --",
    "'; SELECT pg_sleep(10); --",
    "'||pg_sleep(10)||'",
    "1 AND 1=(SELECT 1 FROM pg_sleep(10))",
    "%' AND 1=0 UNION ALL SELECT NULL --",
    "$$; DROP TABLE orders_order; $$",
    "E'\\047'",
    "\\'; --",
    "/* */",
    "id) DESC; --",
    "%s",
    "%(name)s",
    "{0.__class__}",
]

PATTERNS = [
    "%",
    "_",
    "\\",
    "\\\\",
    "%%%%%%%%%%%%",
    "(a+)+$",
    "[[:alpha:]]*",
    ".*",
    "(((((((((",
    "a & b | !c <-> d",
    ":*",
    "*",
    "?",
]

MARKUP = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "{{ 7*7 }}",
    "{% debug %}",
    "${jndi:ldap://example.invalid/a}",
    "=cmd|'/C calc'!A0",
    '<!--#exec cmd="ls"-->',
    "&lt;&#x27;&nbsp;",
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "| id",
    "`id`",
    "$(id)",
]

WRITING = [
    "Ærøskøbing ÆØÅ æøå ß ſ ﬃ",
    "İıIi",
    "Straße",
    "中文字符",
    "صلاة الجمعة",
    "שלום",
    "한국어",
    "𝕬𝖑𝖙",
    "👩‍👩‍👧‍👦",  # a family is held together by zero-width joiners
    "👍🏽",
    "Z̸̢̛̘a̷͙͠l̶̰̈́g̵̱͘o̴̩͝",
    "e\u0301",
    "\ufb2c",  # longer when it is normalized
    "\u00a0inner\u00a0space\u00a0",
    "Ω≈ç√∫˜µ≤≥÷",
    "٠١٢٣",
    "１２３",
    "NULL",
    "null",
    "None",
    "undefined",
    "true",
    "NaN",
    "-0",
    "1e309",
    "0x1F",
]

LONG = ["a" * 200, "ø" * 200, "👍" * 200]

NASTY = SQL + PATTERNS + MARKUP + WRITING
