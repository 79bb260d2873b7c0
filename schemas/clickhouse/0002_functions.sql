-- Functions over stored histograms. ClickHouse keeps SQL functions for the whole server, not per database: hence the
-- prefix, and CREATE OR REPLACE, so that two databases of the same release agree. Each one is the definition of
-- detectors/histograms, to the rank and the bin.

-- The representative of a LogHistogram's bin: within 1 % of every value in it.
CREATE OR REPLACE FUNCTION halcyon_bin_value AS (bin) ->
    if(bin = 0, 0., sign(bin) * 0.99 * exp(abs(bin) * log(1.01 / 0.99) + log(1e-9)));

-- The bin of a value.
CREATE OR REPLACE FUNCTION halcyon_bin AS (value) ->
    toInt16(sign(value) * least(ceil(log(greatest(abs(value), 1e-9)) / log(1.01 / 0.99) - (log(1e-9) / log(1.01 / 0.99) + 1e-9)), 32000));

-- Which value, in ascending order and from 1, is the q-quantile of so many.
CREATE OR REPLACE FUNCTION halcyon_rank AS (q, total) ->
    least(greatest(ceil(total * q * (1 - 1e-15) - 1e-9), 1.), toFloat64(total));

-- The q-quantile of a LogHistogram, within 1 %; NaN when it is empty. bins must ascend, as sumMap returns them.
CREATE OR REPLACE FUNCTION halcyon_quantile AS (q, bins, counts) ->
    if(arraySum(counts) = 0, nan, halcyon_bin_value(bins[arrayFirstIndex(
        (reached, wanted) -> reached >= wanted,
        arrayCumSum(counts), arrayWithConstant(length(counts), halcyon_rank(q, arraySum(counts))))]));

-- The cell of a histogram in which the distribution reaches q: (bin, count, counts up to the end of it).
CREATE OR REPLACE FUNCTION halcyon_cell AS (q, bins, counts) ->
    arrayFirst(
        (cell, wanted) -> cell.3 > 0 AND cell.3 >= wanted,
        arrayZip(bins, counts, arrayCumSum(counts)), arrayWithConstant(length(counts), q * arraySum(counts)));

-- The q-quantile of a BinnedHistogram, linear within a bin; NaN when it is empty. low and high are the smallest and
-- the largest value counted. Of n edges, bin 0 is under the first, bin n over the last.
CREATE OR REPLACE FUNCTION halcyon_quantile_binned AS (q, edges, bins, counts, low, high) ->
    if(arraySum(counts) = 0 OR empty(edges), nan, least(high, greatest(low, arrayMap(
        (counted, reached, before, after) -> before + (after - before) * (q * arraySum(counts) - reached + counted) / counted,
        -- One cell, the one in which the distribution reaches q: its count, the counts up to its end, its bounds.
        [halcyon_cell(q, bins, counts).2], [halcyon_cell(q, bins, counts).3],
        [if(halcyon_cell(q, bins, counts).1 = 0, least(low, edges[1]), edges[halcyon_cell(q, bins, counts).1])],
        [if(halcyon_cell(q, bins, counts).1 = length(edges), greatest(high, edges[-1]), edges[halcyon_cell(q, bins, counts).1 + 1])]
    )[1])));

-- The 34 cells of a BinnedHistogram out of its sparse form.
CREATE OR REPLACE FUNCTION halcyon_dense AS (bins, counts) ->
    arrayMap(cell -> counts[indexOf(bins, cell)], range(34));

-- Cells of two histograms as (current, reference), joined to the right until the reference expects five events in each
-- for the smaller of the two samples. What fell where the reference has one event or none comes last, and the reference
-- is given one event there.
CREATE OR REPLACE FUNCTION halcyon_groups AS (ref_counts, cur_counts) ->
    arrayFilter(cell -> cell.1 + cell.2 > 0, arrayPushBack(
        arrayMap(joined -> if(empty(joined.1),
                [(joined.2, joined.3)],
                -- What is left over joins the last group.
                arrayPushBack(arrayPopBack(joined.1), (joined.1[-1].1 + joined.2, joined.1[-1].2 + joined.3))),
            [arrayFold(
                (held, cur, ref, least) -> if(held.3 + ref >= least,
                    (arrayPushBack(held.1, (held.2 + cur, held.3 + ref)), 0., 0.),
                    (held.1, held.2 + cur, held.3 + ref)),
                arrayMap((cur, ref) -> if(ref > 1, toFloat64(cur), 0.), cur_counts, ref_counts),
                arrayMap(ref -> if(ref > 1, toFloat64(ref), 0.), ref_counts),
                arrayWithConstant(length(ref_counts), 5 * greatest(1., (arraySum(ref_counts) + 1) / arraySum(cur_counts))),
                (CAST([], 'Array(Tuple(Float64, Float64))'), 0., 0.))])[1],
        (arraySum((cur, ref) -> if(ref > 1, 0., toFloat64(cur)), cur_counts, ref_counts),
         arraySum(ref -> if(ref > 1, 0., toFloat64(ref)), ref_counts) + 1.)));

-- The share of n among total when each of so many groups is given pseudo-events, as many in all as there are groups for
-- the smaller of the two samples.
CREATE OR REPLACE FUNCTION halcyon_smoothed AS (n, total, less, groups) ->
    (n + total / less) / (total * (1 + groups / less));

-- Population stability index of counts in the same cells, as the detector psi computes it; NaN when either is empty.
CREATE OR REPLACE FUNCTION halcyon_psi AS (ref_counts, cur_counts) ->
    if(arraySum(ref_counts) = 0 OR arraySum(cur_counts) = 0, nan, arraySum(
        (cell, n, m, k) ->
            (halcyon_smoothed(cell.1, n, least(n, m), k) - halcyon_smoothed(cell.2, m, least(n, m), k))
            * log(halcyon_smoothed(cell.1, n, least(n, m), k) / halcyon_smoothed(cell.2, m, least(n, m), k)),
        halcyon_groups(ref_counts, cur_counts),
        arrayWithConstant(length(halcyon_groups(ref_counts, cur_counts)), toFloat64(arraySum(cur_counts))),
        arrayWithConstant(length(halcyon_groups(ref_counts, cur_counts)), toFloat64(arraySum(ref_counts)) + 1),
        arrayWithConstant(length(halcyon_groups(ref_counts, cur_counts)), toFloat64(length(halcyon_groups(ref_counts, cur_counts))))));

-- The inner edges, as distances from the middle one.
CREATE OR REPLACE FUNCTION halcyon_inner_edges AS (edges) ->
    arrayMap((edge, middle) -> edge - middle, arraySlice(edges, 2, 31), arrayWithConstant(length(arraySlice(edges, 2, 31)), edges[17]));

-- The share of events below each inner edge.
CREATE OR REPLACE FUNCTION halcyon_below AS (counts) ->
    arrayMap((n, total) -> n / total, arraySlice(arrayCumSum(counts), 2, 31),
        arrayWithConstant(length(arraySlice(counts, 2, 31)), toFloat64(arraySum(counts))));

-- Mass between inner edges, and at the outermost of them what lies beyond: pairs of (place, share).
CREATE OR REPLACE FUNCTION halcyon_masses AS (edges, counts) ->
    arrayZip(
        arrayConcat(
            [halcyon_inner_edges(edges)[1]],
            arrayMap((a, b) -> (a + b) / 2, arrayPopBack(halcyon_inner_edges(edges)), arrayPopFront(halcyon_inner_edges(edges))),
            [halcyon_inner_edges(edges)[-1]]),
        arrayMap((a, b) -> b - a, arrayPushFront(halcyon_below(counts), 0.), arrayPushBack(halcyon_below(counts), 1.)));

-- Standard deviation of a histogram drawn in to its inner edges.
CREATE OR REPLACE FUNCTION halcyon_spread AS (edges, counts) ->
    sqrt(arraySum(
        (mass, mean) -> mass.2 * pow(mass.1 - mean, 2),
        halcyon_masses(edges, counts),
        arrayWithConstant(length(halcyon_masses(edges, counts)), arraySum(mass -> mass.1 * mass.2, halcyon_masses(edges, counts)))));

-- Wasserstein distance between the inner edges, in standard deviations of the reference, as the detector wasserstein
-- computes it; NaN when there is no reference or no spread.
CREATE OR REPLACE FUNCTION halcyon_wasserstein AS (edges, ref_counts, cur_counts) ->
    if(arraySum(ref_counts) = 0 OR arraySum(cur_counts) = 0, nan, arraySum(
        (a, b, from, to) -> (b - a) * (from + to) / 2,
        arrayPopBack(halcyon_inner_edges(edges)),
        arrayPopFront(halcyon_inner_edges(edges)),
        arrayPopBack(arrayMap((f, g) -> abs(f - g), halcyon_below(cur_counts), halcyon_below(ref_counts))),
        arrayPopFront(arrayMap((f, g) -> abs(f - g), halcyon_below(cur_counts), halcyon_below(ref_counts))))
    / halcyon_spread(edges, ref_counts));
