"""The same work as others do it: each module is what a user of that library writes after its documentation."""
