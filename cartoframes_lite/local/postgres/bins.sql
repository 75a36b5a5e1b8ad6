-- Limits of classes of numbers, as CARTO's functions of these names return them: the largest value of each class.

CREATE OR REPLACE FUNCTION cartodb.cdb_quantilebins(in_array numeric[], breaks integer) RETURNS numeric[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT percentile_disc(fractions) WITHIN GROUP (ORDER BY value)
    FROM unnest(in_array) AS value,
        (SELECT array_agg(part::float8 / breaks ORDER BY part) AS fractions FROM generate_series(1, breaks) AS part) AS parts
    GROUP BY fractions
$$;

CREATE OR REPLACE FUNCTION cartodb.cdb_equalintervalbins(in_array anyarray, breaks integer) RETURNS anyarray
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(low + part * width ORDER BY part)
    FROM (SELECT min(value) AS low, (max(value) - min(value)) / breaks AS width FROM unnest(in_array) AS value) AS span,
        generate_series(1, breaks) AS part
$$;

-- The mean, the mean of the values above it, and so on. Short arrays are returned as they are, in order.
CREATE OR REPLACE FUNCTION cartodb.cdb_headstailsbins(in_array numeric[], breaks integer) RETURNS numeric[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    limits numeric[] := '{}';
    mean numeric;
BEGIN
    IF cardinality(in_array) - 1 < breaks THEN
        RETURN (SELECT array_agg(value ORDER BY value) FROM unnest(in_array) AS value);
    END IF;
    FOR number IN 1..breaks LOOP
        SELECT avg(value) INTO mean FROM unnest(in_array) AS value WHERE limits = '{}' OR value > limits[number - 1];
        EXIT WHEN mean IS NULL;
        limits := limits || mean;
    END LOOP;
    RETURN nullif(limits, '{}');
END
$$;

-- Natural breaks, by dynamic programming: the least sum of squared deviations from the means of the classes. CARTO's
-- function tries some random divisions, so that its result may be worse. `iterations` is for compatibility.
CREATE OR REPLACE FUNCTION cartodb.cdb_jenksbins(
    in_array numeric[], breaks integer, iterations integer DEFAULT 0, invert boolean DEFAULT false
) RETURNS numeric[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    max_groups CONSTANT integer := 400; -- the time grows with the square of their number
    bottoms numeric[];
    tops numeric[];
    sizes float8[]; -- of all groups up to this one, as totals and squares
    totals float8[];
    squares float8[];
    cost float8[] := '{}'; -- of the best division of the groups up to this one
    starts integer[] := '{}'; -- first group of the last class of that division, by number of classes
    least float8;
    candidate float8;
    start integer;
    length integer;
    last integer;
    limits numeric[] := '{}';
BEGIN
    WITH counted AS (
        SELECT value, count(*) AS size FROM unnest(in_array) AS value WHERE value IS NOT NULL GROUP BY value
    ), placed AS (
        SELECT value - sum(value * size) OVER () / sum(size) OVER () AS distance, value, size,
            CASE WHEN count(*) OVER () <= max_groups THEN row_number() OVER (ORDER BY value)
            ELSE ntile(max_groups) OVER (ORDER BY value) END AS part
        FROM counted
    ), parts AS (
        SELECT part, min(value) AS bottom, max(value) AS top, sum(size)::float8 AS size,
            sum(distance * size)::float8 AS total, sum(distance * distance * size)::float8 AS square
        FROM placed GROUP BY part
    ), summed AS (
        SELECT part, bottom, top, sum(size) OVER running AS size, sum(total) OVER running AS total,
            sum(square) OVER running AS square
        FROM parts WINDOW running AS (ORDER BY part)
    )
    SELECT array_agg(bottom ORDER BY part), array_agg(top ORDER BY part), array_agg(size ORDER BY part),
        array_agg(total ORDER BY part), array_agg(square ORDER BY part)
    INTO bottoms, tops, sizes, totals, squares FROM summed;
    length := cardinality(tops);
    IF length IS NULL OR length <= breaks THEN
        RETURN tops;
    END IF;
    FOR top IN 1..length LOOP
        cost[top] := squares[top] - totals[top] ^ 2 / sizes[top];
        starts[top] := 1;
    END LOOP;
    FOR class IN 2..breaks LOOP
        FOR top IN REVERSE length..class LOOP
            least := 'Infinity';
            FOR bottom IN class..top LOOP
                candidate := cost[bottom - 1] + squares[top] - squares[bottom - 1]
                    - (totals[top] - totals[bottom - 1]) ^ 2 / (sizes[top] - sizes[bottom - 1]);
                IF candidate < least THEN
                    least := candidate;
                    start := bottom;
                END IF;
            END LOOP;
            cost[top] := least;
            starts[(class - 1) * length + top] := start;
        END LOOP;
    END LOOP;
    last := length;
    FOR class IN REVERSE breaks..1 LOOP
        start := starts[(class - 1) * length + last];
        limits := CASE WHEN invert THEN bottoms[start] ELSE tops[last] END || limits;
        last := start - 1;
    END LOOP;
    RETURN limits;
END
$$;
