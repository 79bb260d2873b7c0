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
