//! What the roll-ups tell: calls by hour, latencies by day (API.md §1.9). Rows are hours of UTC; an hour belongs to the day, week or
//! month in which it begins at the place that is asked for.

mod histogram;
mod range;
mod rows;

pub(crate) use histogram::{Histogram, Percentiles};
pub(crate) use range::{Bucket, Range, RangeQuery};
pub(crate) use rows::{Cut, Sentiment, Slice, Tally, Versions, percent};
