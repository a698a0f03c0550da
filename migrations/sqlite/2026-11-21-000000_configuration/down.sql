-- The tables are drawpile-srv's and hold what people have entered: they stay.
SELECT 1;
